"""The interval of an average gap: known numbers, and coverage over retrained models by simulation."""

import math

import numpy as np
import pytest
from scipy.stats import t

from raybench.metrics.functions.average_gap import average_gap_estimate


def test_with_one_component_it_is_the_prediction_interval_of_one_further_model():
    references = np.array([[0.5], [0.6], [0.8]])
    estimate = average_gap_estimate([0.9], references)
    half_width = t.ppf(0.975, 2) * references.std(ddof=1) * math.sqrt(1 + 1 / 3)
    value = 0.9 - references.mean()
    assert estimate.value == pytest.approx(100 * value)
    assert (estimate.low, estimate.high) == pytest.approx(
        (max(0, 100 * (value - half_width)), 100 * (value + half_width))
    )


def test_components_that_move_against_each_other_cancel_in_the_upper_end_only():
    references = np.array([[0.5, 0.7], [0.6, 0.6], [0.7, 0.5]])
    estimate = average_gap_estimate([0.9, 0.9], references)  # both gaps are positive
    assert (estimate.value, estimate.high) == pytest.approx((30, 30))
    assert estimate.low == pytest.approx(max(0, 30 - 100 * t.ppf(0.975, 2) * 0.1 * math.sqrt(1 + 1 / 3)))


@pytest.mark.parametrize("n", [2, 3, 8, 30])
@pytest.mark.parametrize("correlation", [0.0, 0.99])
@pytest.mark.parametrize("gaps", [(0, 0, 0, 0), (1, 0, 0, 0), (3, 3, 3, -3)])
def test_the_interval_holds_the_true_gap_in_95_percent_of_draws(n, correlation, gaps):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        values = math.sqrt(correlation) * rng.normal(size=(n + 1, 1))
        values = values + math.sqrt(1 - correlation) * rng.normal(size=(n + 1, 4))
        estimate = average_gap_estimate(values[-1] + gaps, values[:-1])
        covered.append(estimate.low <= 100 * np.abs(gaps).mean() <= estimate.high)
    assert np.mean(covered) >= 0.95 - 2.6 * math.sqrt(0.05 * 0.95 / 400)


def test_one_retrained_model_gives_a_reason_and_other_shapes_are_refused():
    estimate = average_gap_estimate([0.5, 0.7], [[0.4, 0.8]])
    assert estimate.value == pytest.approx(10)
    assert np.isnan(estimate[1:3]).all()
    assert estimate.interval == "none: one retrained model"
    with pytest.raises(ValueError, match=r"shape \(N, 2\)"):
        average_gap_estimate([0.5, 0.7], [[0.4, 0.8, 0.1]])
