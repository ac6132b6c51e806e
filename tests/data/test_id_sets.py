import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raybench.data import id_sets

IDS = st.sets(st.integers(0, 60) | st.integers(0, 2**62), max_size=40).map(lambda ids: np.array(sorted(ids), np.int64))


@given(IDS, IDS)
def test_they_are_the_operations_of_numpy(ids, others):
    only = id_sets.without(ids, others)
    np.testing.assert_array_equal(only, np.setdiff1d(ids, others))
    np.testing.assert_array_equal(id_sets.shared(ids, others), np.intersect1d(ids, others))
    np.testing.assert_array_equal(id_sets.union(only, others), np.union1d(ids, others))
