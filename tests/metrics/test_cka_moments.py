import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.functions.cka import cka
from raybench.metrics.functions.representation import CkaMoments, Pilot


def features(n, d, e, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + 1
    return x.astype(dtype), (x @ rng.normal(size=(d, e)) + rng.normal(size=(n, e))).astype(dtype)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.sets(st.integers(1, 59), max_size=6))
def test_merged_shards_equal_all_rows_at_once(estimator, seed, cuts):
    x, y = features(60, 5, 7, seed)
    pilot = Pilot.of(x, y)
    edges = [0, *sorted(cuts), 60]
    merged = CkaMoments(pilot).add(x[: edges[1]], y[: edges[1]])
    for a, b in itertools.pairwise(edges[1:]):
        merged = merged.merge(CkaMoments(pilot).add(x[a:b], y[a:b]))
    assert merged.finish(estimator) == pytest.approx(cka(x, y, estimator), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_order_of_shards_changes_nothing_to_twelve_digits(dtype):
    x, y = features(500, 20, 30, dtype=dtype)
    pilot = Pilot.of(x, y)
    shards = [CkaMoments(pilot).add(x[i : i + 125], y[i : i + 125]) for i in range(0, 500, 125)]
    values = []
    for a, b, c, d in itertools.permutations(shards):
        values += [a.merge(b).merge(c).merge(d).finish(), a.merge(b).merge(c.merge(d)).finish()]
    assert max(values) - min(values) < 1e-12


def test_batches_added_to_one_state_equal_all_rows_at_once():
    x, y = features(100, 4, 3)
    moments = CkaMoments()
    for rows in (slice(0, 40), slice(40, 41), slice(41, 100)):
        moments.add(x[rows], y[rows])
    assert moments.finish() == pytest.approx(cka(x, y), abs=1e-12)


def test_taking_a_shard_away_undoes_adding_it():
    x, y = features(90, 6, 6)
    pilot = Pilot.of(x, y)
    whole, part = CkaMoments(pilot).add(x, y), CkaMoments(pilot).add(x[60:], y[60:])
    assert whole.without(part).finish() == pytest.approx(cka(x[:60], y[:60]), abs=1e-12)
    assert whole.finish() == pytest.approx(cka(x, y), abs=1e-12)


def test_merging_leaves_both_states_as_they_were():
    x, y = features(60, 4, 4)
    pilot = Pilot.of(x, y)
    first, second = CkaMoments(pilot).add(x[:30], y[:30]), CkaMoments(pilot).add(x[30:], y[30:])
    before = first.finish(), second.finish()
    first.merge(second)
    assert (first.finish(), second.finish()) == before


def test_memory_does_not_grow_with_the_number_of_rows():
    x, y = features(5000, 3, 4)
    assert CkaMoments().add(x, y).sums.shape == CkaMoments().add(x[:10], y[:10]).sums.shape == (10, 10)


def test_a_pilot_far_from_the_data_changes_nothing_in_float64():
    x, y = features(80, 5, 5)
    odd = Pilot.of(x[:3] + 50, y[:3] * 7)
    assert CkaMoments(odd).add(x, y).finish() == pytest.approx(cka(x, y), abs=1e-8)


def test_states_with_different_pilots_do_not_merge():
    x, y = features(60, 4, 4)
    with pytest.raises(ValueError, match="one pilot"):
        CkaMoments().add(x[:30], y[:30]).merge(CkaMoments().add(x[30:], y[30:]))


def test_what_cannot_be_finished_says_why():
    x, y = features(10, 3, 3)
    with pytest.raises(ValueError, match="no features were added"):
        CkaMoments().finish()
    with pytest.raises(ValueError, match="at least 4 samples"):
        CkaMoments().add(x[:3], y[:3]).finish()
    with pytest.raises(ValueError, match="constant"):
        CkaMoments().add(x, np.full((10, 3), 0.1)).finish()
    with pytest.raises(ValueError, match="merged sums give"):
        CkaMoments().add(x, y).finish("batched")
    with pytest.raises(ValueError, match="widths"):
        CkaMoments().add(x, y).add(x, y[:, :2])
    with pytest.raises(ValueError, match="same samples"):
        CkaMoments().add(x, y[:5])
