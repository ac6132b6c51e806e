import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.functions.cka import cka
from raybench.metrics.functions.cka_moments import CkaMoments, Pilot, linear_cka


def features(n, d, e, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + 1
    return x.astype(dtype), (x @ rng.normal(size=(d, e)) + rng.normal(size=(n, e))).astype(dtype)


def finish(moments, estimator="unbiased"):
    return float(linear_cka(moments.sums, moments.width, estimator))


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.sets(st.integers(1, 59), max_size=6))
def test_rows_added_in_parts_equal_all_rows_at_once(estimator, seed, cuts):
    x, y = features(60, 5, 7, seed)
    moments = CkaMoments(Pilot.of(x, y))
    for a, b in itertools.pairwise([0, *sorted(cuts), 60]):
        moments.add(x[a:b], y[a:b])
    assert finish(moments, estimator) == pytest.approx(cka(x, y, estimator), abs=1e-12)


def test_batches_added_to_one_state_equal_all_rows_at_once():
    x, y = features(100, 4, 3)
    moments = CkaMoments()
    for rows in (slice(0, 40), slice(40, 41), slice(41, 100)):
        moments.add(x[rows], y[rows])
    assert finish(moments) == pytest.approx(cka(x, y), abs=1e-12)


def test_taking_a_shard_away_undoes_adding_it():
    x, y = features(90, 6, 6)
    pilot = Pilot.of(x, y)
    whole, part = CkaMoments(pilot).add(x, y), CkaMoments(pilot).add(x[60:], y[60:])
    assert finish(whole.without(part)) == pytest.approx(cka(x[:60], y[:60]), abs=1e-12)
    assert finish(whole) == pytest.approx(cka(x, y), abs=1e-12)


def test_memory_does_not_grow_with_the_number_of_rows():
    x, y = features(5000, 3, 4)
    assert CkaMoments().add(x, y).sums.shape == CkaMoments().add(x[:10], y[:10]).sums.shape == (10, 10)


def test_a_pilot_far_from_the_data_changes_nothing_in_float64():
    x, y = features(80, 5, 5)
    odd = Pilot.of(x[:3] + 50, y[:3] * 7)
    assert finish(CkaMoments(odd).add(x, y)) == pytest.approx(cka(x, y), abs=1e-8)


def test_what_cannot_be_finished_says_why():
    x, y = features(10, 3, 3)
    with pytest.raises(ValueError, match="no features were added"):
        CkaMoments().without(CkaMoments())
    with pytest.raises(ValueError, match="at least 4 samples"):
        finish(CkaMoments().add(x[:3], y[:3]))
    assert np.isnan(finish(CkaMoments().add(x, np.full((10, 3), 0.1))))
    with pytest.raises(ValueError, match="widths"):
        CkaMoments().add(x, y).add(x, y[:, :2])
    with pytest.raises(ValueError, match="same samples"):
        CkaMoments().add(x, y[:5])
