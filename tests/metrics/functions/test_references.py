"""Means over retrained models and gaps to pairs among them: least squares, known numbers, level by simulation."""

import math

import numpy as np
import pytest
from scipy.stats import t

from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.references import gap_to_pairs, mean_of_pairs, mean_over_references


def values_among(rng, models, *, pair_sd=0.0, reference=None):
    """Return d(i, j) = a_i + b_j + e_ij (models, models); symmetric unless b = `reference` * a."""
    a, e = rng.normal(size=models), pair_sd * rng.normal(size=(models, models))
    if reference is None:
        e = np.triu(e, 1)
        return a[:, None] + a[None] + e + e.T
    return a[:, None] + reference * a[None] + e


def least_squares_effects(pairs):
    """Fit d(i, j) = a_i + b_j to the pairs i != j and return a (N,)."""
    n = len(pairs)
    cells = [(i, j) for i in range(n) for j in range(n) if i != j]
    design = np.array([np.concatenate([np.eye(n)[i], np.eye(n)[j]]) for i, j in cells])
    return np.linalg.lstsq(design, [pairs[cell] for cell in cells], rcond=None)[0][:n]


@pytest.mark.parametrize("n", [3, 4, 7])
@pytest.mark.parametrize("reference", [None, -0.5])
def test_the_half_width_is_the_prediction_interval_of_the_least_squares_effects(n, reference):
    pairs = values_among(np.random.default_rng(n), n, pair_sd=0.7, reference=reference)
    values = np.linspace(0, 1, n)
    gap = gap_to_pairs(values, pairs)
    sd = least_squares_effects(pairs).std(ddof=1)
    half_width = t.ppf(0.975, n - 1) * sd * math.sqrt(1 + 1 / n)
    assert gap.gap == pytest.approx(values.mean() - pairs[~np.eye(n, dtype=bool)].mean())
    assert ((gap.high - gap.low) / 2, gap.z) == pytest.approx((half_width, gap.gap / sd))
    assert (gap.n_reference, gap.interval) == (n, "prediction t, jackknife")


def test_the_mean_of_pairs_has_the_interval_of_the_jackknife():
    pairs = values_among(np.random.default_rng(1), 6, pair_sd=1)
    off = ~np.eye(6, dtype=bool)
    without = [np.delete(np.delete(pairs, i, 0), i, 1)[~np.eye(5, dtype=bool)].mean() for i in range(6)]
    error = math.sqrt(5 / 6 * np.sum((np.array(without) - np.mean(without)) ** 2))
    estimate = mean_of_pairs(pairs)
    assert estimate.value == pytest.approx(pairs[off].mean())
    assert (estimate.high - estimate.low) / 2 == pytest.approx(t.ppf(0.975, 5) * error)


@pytest.mark.parametrize("n", [3, 5, 8, 16])
@pytest.mark.parametrize(("pair_sd", "reference"), [(0, None), (1, None), (1e3, None), (0, 2.0), (0, -1.0), (1, 0.0)])
def test_a_further_retrained_model_is_called_different_in_at_most_5_percent(n, pair_sd, reference):
    rng = np.random.default_rng(0)
    draws = [values_among(rng, n + 1, pair_sd=pair_sd, reference=reference) for _ in range(600)]
    outside = [gap.low > 0 or gap.high < 0 for gap in (gap_to_pairs(d[n, :n], d[:n, :n]) for d in draws)]
    assert np.mean(outside) <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 600)
    if pair_sd == 0:  # exact without pair effects
        assert np.mean(outside) >= 0.05 - 2.6 * math.sqrt(0.05 * 0.95 / 600)


def test_two_retrained_models_share_one_value_and_give_a_reason():
    pairs = [[0, 0.8], [0.8, 0]]
    gap, mean = gap_to_pairs([0.5, 0.7], pairs), mean_of_pairs(pairs)
    assert gap.gap == pytest.approx(-0.2)
    assert np.isnan([gap.low, gap.high, gap.z, mean.low, mean.high]).all()
    assert gap.interval == mean.interval == "none: two retrained models share their one value, at least 3 are needed"


def test_equal_pairs_are_named_and_the_diagonal_is_ignored():
    pairs = np.full((4, 4), 0.1)
    np.fill_diagonal(pairs, np.nan)
    gap = gap_to_pairs([0.1] * 4, pairs)
    assert (gap.gap, gap.low, gap.high, gap.z) == (0, 0, 0, 0)
    assert "identical" in gap.interval


@pytest.mark.parametrize(
    ("values", "pairs", "message"),
    [
        ([1, 2], np.eye(3), "2 values given for 3"),
        ([1, 2, 3], np.ones((3, 2)), r"shape \(N, N\)"),
        ([1, 2], np.array([[0, np.nan], [1, 0]]), "not finite"),
    ],
)
def test_other_shapes_and_missing_pairs_are_refused(values, pairs, message):
    with pytest.raises(ValueError, match=message):
        gap_to_pairs(values, pairs)


def estimates(values, half_width=0.1, interval="clopper-pearson"):
    return [Estimate(v, v - half_width, v + half_width, 50, interval) for v in values]


def test_the_mean_over_references_adds_their_spread_to_the_interval_over_samples():
    values = [0.4, 0.5, 0.6]
    estimate = mean_over_references(estimates(values))
    half_width = math.hypot(0.1, t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3))
    assert estimate[:4] == pytest.approx((0.5, 0.5 - half_width, 0.5 + half_width, 50))
    assert estimate.interval == "clopper-pearson, and t over 3 retrained"
    assert mean_over_references(estimates(values), low=0.3, high=0.6)[1:3] == (0.3, 0.6)
    assert mean_over_references(estimates([0.4])) == estimates([0.4])[0]


def test_an_interval_that_one_reference_lacks_is_missing_with_its_reason():
    lacking = Estimate(0.2, math.nan, math.nan, 50, "none: one value")
    estimate = mean_over_references([*estimates([0.4]), lacking])
    assert estimate.value == pytest.approx(0.3)
    assert np.isnan(estimate[1:3]).all()
    assert estimate.interval == "none: one value"


def test_the_interval_of_a_mean_over_references_covers_other_models_and_samples():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(600):
        x = 0.5 * rng.normal(size=(5, 1)) + rng.normal(size=40) + 0.5 * rng.normal(size=(5, 40))
        sd = x.std(axis=1, ddof=1) / math.sqrt(40) * t.ppf(0.975, 39)
        estimate = mean_over_references([Estimate(m, m - s, m + s, 40, "t") for m, s in zip(x.mean(axis=1), sd)])
        covered.append(estimate.low <= 0 <= estimate.high)
    assert 0.93 <= np.mean(covered) <= 0.99
