import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.functions.conformal_quantile import (
    forget_only,
    marginal,
    mondrian,
    quantile,
    retain_only,
    smallest_calibration,
    thresholds,
)

TENTHS = [0.3, 1.0, 0.1, 0.5, 0.2, 0.9, 0.4, 0.8, 0.6, 0.7]


@pytest.mark.parametrize(
    ("alpha", "exact", "higher"), [(0.5, 0.6, 0.7), (0.2, 0.9, 1.0), (0.1, 1.0, 1.0), (0.05, math.inf, math.inf)]
)
def test_ten_unsorted_scores_give_the_hand_computed_thresholds(alpha, exact, higher):
    assert quantile(TENTHS, alpha) == exact
    assert quantile(TENTHS, alpha, "numpy_higher") == higher


@pytest.mark.parametrize(
    ("n", "alpha", "exact", "higher"),
    [(39, 0.05, 38, 39), (19, 0.05, 19, 19), (2000, 0.05, 1901, 1902), (99, 0.1, 90, 91)],
)
def test_numpy_higher_is_one_order_statistic_too_high_unless_it_is_the_last(n, alpha, exact, higher):
    scores = np.random.default_rng(0).permutation(np.arange(1, n + 1))
    assert quantile(scores, alpha) == exact
    assert quantile(scores, alpha, "numpy_higher") == higher


def test_nine_scores_at_alpha_a_tenth_give_the_largest():
    scores = [0.01, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.90]
    assert quantile(scores, 0.1) == quantile(scores, 0.1, "numpy_higher") == 0.90


@pytest.mark.parametrize(("alpha", "n"), [(0.01, 99), (0.05, 19), (0.10, 9), (0.15, 6), (0.20, 4)])
def test_the_smallest_usable_calibration_set_is_known(alpha, n):
    assert smallest_calibration(alpha) == n
    assert math.isfinite(quantile(np.arange(n), alpha))
    assert quantile(np.arange(n - 1), alpha) == math.inf


def test_the_rank_is_taken_from_the_decimal_and_not_from_its_rounding():
    # in floats 10 * (1 - 0.7) is 3.0000000000000004, whose ceiling is 4
    assert quantile(np.arange(1, 10), 0.7) == 3


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    score=st.integers(-1, 13),
    alpha=st.sampled_from([0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7]),
)
def test_a_label_is_in_the_set_exactly_when_its_conformal_p_value_exceeds_alpha(scores, score, alpha):
    at_least = sum(s >= score for s in scores) + 1
    assert (score <= quantile(scores, alpha)) == (round(at_least - alpha * (len(scores) + 1), 9) > 0)


@pytest.mark.parametrize("rule", ["exact", "numpy_higher"])
def test_thresholds_fall_as_alpha_grows(rule):
    scores = np.random.default_rng(1).normal(size=137)
    cuts = [quantile(scores, alpha, rule) for alpha in np.linspace(0.01, 0.99, 60)]
    assert (np.diff(cuts) <= 0).all()


@pytest.mark.parametrize(("rule", "expected"), [("exact", 0.95), ("numpy_higher", 0.975)])
def test_mean_coverage_of_uniform_scores_is_the_rank_over_n_plus_one(rule, expected):
    rng = np.random.default_rng(0)
    cuts = np.sort(rng.random((20_000, 39)), axis=1)[:, 37 if rule == "exact" else 38]
    assert quantile(np.arange(39), 0.05, rule) == (37 if rule == "exact" else 38)
    assert (rng.random(20_000) <= cuts).mean() == pytest.approx(expected, abs=0.005)


def test_mondrian_uses_each_class_alone_and_leaves_small_classes_full():
    scores, labels = np.concatenate([np.arange(9), np.arange(100, 119), [7.0]]), [0] * 9 + [1] * 19 + [2]
    cut = mondrian(scores, labels, [0.1, 0.05], num_classes=4)
    np.testing.assert_array_equal(cut, [[8, 117, math.inf, math.inf], [math.inf, 118, math.inf, math.inf]])


def test_retain_only_and_forget_only_split_the_calibration_set_by_class():
    scores, labels = np.concatenate([np.arange(9), 100 + np.arange(9)]), [0] * 9 + [1] * 9
    assert (retain_only(scores, labels, 0.1, num_classes=2, forget_classes=[1]) == 8).all()
    assert (forget_only(scores, labels, 0.1, num_classes=2, forget_classes=[1]) == 108).all()
    assert (marginal(scores, labels, 0.2, num_classes=2) == 106).all()
    named = thresholds(scores, labels, 0.1, num_classes=2, calibration="retain_only", forget_classes=[1])
    assert named.shape == (1, 2)
    assert (named == 8).all()


def test_calibration_by_role_without_forget_classes_is_refused():
    with pytest.raises(ValueError, match="forget_classes"):
        retain_only(np.arange(9), [0] * 9, 0.1, num_classes=2, forget_classes=[])


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 2])
def test_alpha_outside_the_open_interval_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha must lie"):
        quantile([1.0], alpha)


def test_nan_scores_and_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        marginal([math.nan, 1.0], [0, 1], 0.5, num_classes=2)
    with pytest.raises(ValueError, match="unknown quantile rule"):
        quantile([1.0, 2.0, 3.0], 0.5, "lower")
    with pytest.raises(ValueError, match="unknown calibration"):
        thresholds([1.0], [0], 0.5, num_classes=2, calibration="split")
