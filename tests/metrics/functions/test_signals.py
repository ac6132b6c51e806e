import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.functions.signals import (
    confidence,
    correctness,
    entropy,
    loss,
    margin,
    modified_entropy,
    scaled_confidence,
)

WITH_LABELS = (loss, confidence, scaled_confidence, margin, correctness, modified_entropy)


def random_case(seed, n=20, classes=4):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (n, classes)), rng.integers(classes, size=n)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_signals_equal_their_plain_definitions(seed):
    logits, labels = random_case(seed)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rows = np.arange(len(labels))
    own = p[rows, labels]
    others = np.where(np.arange(4) == labels[:, None], -np.inf, logits)
    expected_modified = np.zeros(len(labels))
    for i, y in enumerate(labels):
        expected_modified[i] = -(1 - p[i, y]) * np.log(p[i, y])
        for j in set(range(4)) - {int(y)}:
            expected_modified[i] -= p[i, j] * np.log(1 - p[i, j])
    assert loss(logits, labels) == pytest.approx(-np.log(own), rel=1e-9)
    assert confidence(logits, labels) == pytest.approx(own, rel=1e-9)
    assert scaled_confidence(logits, labels) == pytest.approx(np.log(own / (1 - own)), rel=1e-9)
    assert margin(logits, labels) == pytest.approx(logits[rows, labels] - others.max(1), rel=1e-9)
    assert correctness(logits, labels) == pytest.approx((logits.argmax(1) == labels).astype(float))
    assert entropy(logits) == pytest.approx(-(p * np.log(p)).sum(1), rel=1e-9)
    assert modified_entropy(logits, labels) == pytest.approx(expected_modified, rel=1e-9)


def test_the_loss_is_that_of_torch_for_both_kinds_of_labels():
    logits, labels = random_case(0)
    tensor = torch.tensor(logits)
    single = torch.nn.functional.cross_entropy(tensor, torch.tensor(labels), reduction="none")
    assert loss(tensor, torch.tensor(labels)) == pytest.approx(single.numpy())
    targets = torch.tensor(np.random.default_rng(0).integers(2, size=logits.shape))
    several = torch.nn.functional.binary_cross_entropy_with_logits(tensor, targets.double(), reduction="none").mean(1)
    assert loss(tensor, targets) == pytest.approx(several.numpy())


@pytest.mark.parametrize("signal", WITH_LABELS)
def test_float32_logits_of_ten_thousand_give_finite_signals(signal):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [0, 0, 0]], dtype=np.float32)
    for labels in ([0, 0, 0], [1, 1, 1], [2, 2, 2]):
        assert np.isfinite(signal(logits, labels)).all()
    assert np.isfinite(signal(logits, np.eye(3, dtype=int))).all()


def test_known_values_at_the_extremes():
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype=np.float32)
    assert loss(logits, [0, 0]).tolist() == [0, 2e4]
    assert confidence(logits, [0, 0]).tolist() == [1, 0]
    assert modified_entropy(logits, [0, 0]).tolist() == [0, 4e4]  # both terms are 1 times 2e4
    assert entropy(logits).tolist() == [0, 0]
    assert entropy(np.zeros((1, 8))) == pytest.approx(np.log(8))


def test_very_confident_samples_are_not_tied_at_a_loss_of_0():
    logits = np.array([[40.0, 0.0], [41.0, 0.0]])
    assert loss(logits, [0, 0]) == pytest.approx(np.exp([-40.0, -41.0]))


@pytest.mark.parametrize("signal", WITH_LABELS)
def test_a_multilabel_signal_is_the_mean_of_two_class_signals(signal):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (10, 3)), rng.integers(2, size=(10, 3))
    pairs = [signal(np.stack([np.zeros(10), logits[:, k]], axis=1), labels[:, k]) for k in range(3)]
    assert signal(logits, labels) == pytest.approx(np.mean(pairs, axis=0))


def test_modified_entropy_reads_each_row_alone():
    logits, labels = random_case(0)
    together = modified_entropy(logits, labels)
    alone = [modified_entropy(logits[i : i + 1], labels[i : i + 1])[0] for i in range(len(labels))]
    assert together == pytest.approx(alone)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_signals_follow_a_permutation_of_classes_and_ignore_a_shift(seed):
    logits, labels = random_case(seed)
    columns = np.random.default_rng(seed).permutation(4)
    for signal in WITH_LABELS:
        moved = signal(logits[:, columns] + 5, np.argsort(columns)[labels])
        assert moved == pytest.approx(signal(logits, labels), rel=1e-9)


def test_infinite_logits_are_refused_rather_than_subtracted():
    with pytest.raises(ValueError, match="infinite"):
        loss([[np.inf, np.inf]], [0])
    with pytest.raises(ValueError, match="NaN"):
        entropy([[np.nan, 0.0]])
