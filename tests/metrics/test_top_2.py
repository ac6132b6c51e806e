"""Top-2 accuracy against a plain sort, and where it says nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.accuracy import accuracy
from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.top_2 import top_2


def test_a_hand_counted_case_with_its_exact_interval():
    logits = [[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 3.0, 2.0], [0.0, 0.0, 0.0]]
    found = top_2(logits, [1, 0, 2, 2])  # second, last, second, and third by index among equals
    assert found == clopper_pearson(2, 4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_it_is_the_share_among_the_two_largest_and_never_below_top_1(seed, classes):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(size=(40, classes)), random.integers(0, classes, 40)
    found = top_2(logits, labels)
    best = np.argsort(-logits, axis=1)[:, :2]
    assert found.value == pytest.approx(np.mean((best == labels[:, None]).any(axis=1)))
    assert found.value >= accuracy(logits, labels).value
    assert found.low <= found.value <= found.high
    if classes == 2:
        assert found.value == 1


def test_many_labels_per_sample_are_refused():
    with pytest.raises(ValueError, match="one class per sample"):
        top_2(np.zeros((4, 3)), np.zeros((4, 3), dtype=int))
