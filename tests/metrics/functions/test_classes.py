import numpy as np

from raybench.metrics.functions.classes import forgotten_classes


def test_a_class_is_forgotten_where_no_sample_of_it_is_retained():
    assert forgotten_classes(np.array([3, 1, 3]), np.array([1, 2])).tolist() == [3]
    assert forgotten_classes(np.array([1, 2]), np.array([1, 2, 3])).tolist() == []
