"""The error of a regression by classes, from its formula and from cases that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from raybench.metrics.regression import mean_absolute_error

DECADES = np.arange(0.0, 100, 10)


def test_a_sure_model_errs_by_the_distance_of_its_class():
    labels = np.array([0, 3, 9])
    sure = 1e4 * np.eye(10)[[0, 5, 8]]
    assert mean_absolute_error(sure, labels, DECADES).value == pytest.approx((0 + 20 + 10) / 3)


def test_a_model_that_knows_nothing_guesses_the_mean_of_the_class_values():
    labels = np.array([0, 9, 4])
    assert mean_absolute_error(np.zeros((3, 10)), labels, DECADES).value == pytest.approx((45 + 45 + 5) / 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 40))
def test_it_is_the_mean_distance_of_the_expected_value(seed, classes, n):
    rng = np.random.default_rng(seed)
    logits, labels, values = rng.normal(size=(n, classes)) * 3, rng.integers(classes, size=n), rng.normal(size=classes)
    slow = [abs(sum(p * v for p, v in zip(softmax(row), values)) - values[label]) for row, label in zip(logits, labels)]
    found = mean_absolute_error(logits, labels, values)
    assert found.value == pytest.approx(np.mean(slow))
    assert found.n == n
    assert np.isnan(found.low) if n == 1 else 0 <= found.low <= found.value <= found.high


def test_shifting_all_class_values_changes_no_error():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 10)), rng.integers(10, size=50)
    one, other = (mean_absolute_error(logits, labels, values).value for values in (DECADES, DECADES + 5))
    assert one == pytest.approx(other)


@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (np.zeros((4, 10)), np.zeros((4, 10), dtype=np.uint8), "one class per sample"),
        (np.zeros((4, 3)), np.zeros(4, dtype=np.int64), "3 logits, but 10 class names"),
    ],
)
def test_what_has_no_expected_value_is_refused(logits, labels, said):
    with pytest.raises(ValueError, match=said):
        mean_absolute_error(logits, labels, DECADES)
