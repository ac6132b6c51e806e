"""Forget against test samples on one model: known differences, a known interval, null and memory."""

import numpy as np
import pytest

from raybench.metrics.accuracy import accuracy
from raybench.metrics.conformal import coverage
from raybench.metrics.forget_test_gap import accuracy_gap, memory_gap
from raybench.metrics.functions.intervals import difference, wilson


def drawn(seed, n, classes=5, strength=2.0):
    """Logits that know their label to some degree, all of one law."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=n)
    logits = random.normal(size=(n, classes))
    logits[np.arange(n), labels] += strength
    return logits, labels


def test_the_interval_of_a_difference_is_newcombes():
    """56 of 70 against 48 of 80 in Newcombe 1998, method 10: 0.2 (0.0524 to 0.3339)."""
    found = difference(wilson(56, 70), wilson(48, 80))
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.n == 150


def test_a_difference_of_certainties_stays_within_its_range():
    found = difference(wilson(20, 20), wilson(0, 20))
    assert found.value == found.high == 1
    assert found.low < 1


def test_the_accuracy_gap_is_forget_accuracy_minus_test_accuracy():
    forget, test = drawn(0, 60, strength=5), drawn(1, 80)
    found = accuracy_gap(*forget, *test)
    assert found.value == pytest.approx(accuracy(*forget).value - accuracy(*test).value)
    assert found.low <= found.value <= found.high
    assert accuracy_gap(*test, *forget).value == pytest.approx(-found.value)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_a_memorized_forget_set_has_a_memory_gap_of_about_alpha(alpha):
    (_, labels), test, held_out = drawn(0, 500), drawn(1, 4000), drawn(2, 2000)
    certain = np.zeros((500, 5))
    certain[np.arange(500), labels] = 50
    found = memory_gap(certain, labels, *test, *held_out, alpha)
    assert found.value == pytest.approx(alpha, abs=4 * np.sqrt(alpha * (1 - alpha) * (1 / 4000 + 1 / 2000)))
    assert found.low > 0


def test_forget_samples_of_the_law_of_test_samples_have_no_memory_gap():
    outside = 0
    for seed in range(40):
        forget, test, held_out = drawn(3 * seed, 200), drawn(3 * seed + 1, 400), drawn(3 * seed + 2, 300)
        found = memory_gap(*forget, *test, *held_out, 0.1)
        assert found.value == pytest.approx(
            coverage(*forget, *held_out, 0.1)[""].value - coverage(*test, *held_out, 0.1)[""].value
        )
        outside += not found.low <= 0 <= found.high
    assert outside <= 5  # 95 % intervals; more than 5 of 40 has a chance below 2 %


def test_prediction_sets_of_several_labels_have_no_memory_gap():
    logits, labels = np.zeros((9, 2)), np.ones((9, 2), dtype=np.uint8)
    with pytest.raises(ValueError, match="multi-label"):
        memory_gap(logits, labels, logits, labels, logits, labels, 0.2)
    assert accuracy_gap(logits, labels, logits, labels).value == 0
