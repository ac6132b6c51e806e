"""One threshold for each class: exhaustive reference, classes that are missing, what a global threshold misses."""

import numpy as np
import pytest

from raybench.metrics.class_thresholds import mia_threshold_by_class
from raybench.metrics.functions.class_thresholds import called_members
from raybench.metrics.functions.intervals import proportion


def best_accuracy(members, others):
    """Try every threshold `signal <= cut` and return the largest balanced accuracy."""
    cuts = np.unique(np.concatenate([members, others, [-np.inf]]))
    return max((np.mean(members <= cut) + np.mean(others > cut)) / 2 for cut in cuts)


def test_each_class_has_the_best_threshold_of_its_own_samples():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    members, others = 3.0 * labels + rng.normal(size=60), 3.0 * labels + 1 + rng.normal(size=60)
    called = called_members((members, labels), (others, labels), (members, labels), (others, labels))
    for label in range(3):
        mine = labels == label
        accuracy = (called[0][mine].mean() + 1 - called[1][mine].mean()) / 2
        assert accuracy == pytest.approx(best_accuracy(members[mine], others[mine]))


def test_a_class_without_retain_or_test_samples_gets_the_threshold_of_all():
    fit = (np.array([0.0, 1.0, 0.0]), [0, 0, 2]), (np.array([4.0, 5.0, 4.0]), [0, 0, 1])
    (called,) = called_members(*fit, (np.array([1.0, 3.9, 1.0, 3.9]), [1, 1, 3, 3]))
    assert called.tolist() == [True, False, True, False]


def test_high_signals_of_members_and_labels_of_several_classes():
    fit = (np.array([0.9, 0.8]), [0, 0]), (np.array([0.1, 0.3]), [0, 0])
    (called,) = called_members(*fit, (np.array([0.95, 0.0]), [0, 0]), member_side="high")
    assert called.tolist() == [True, False]
    with pytest.raises(ValueError, match="multi-label"):
        called_members((np.ones(2), np.ones((2, 3))), fit[1])


def test_the_metric_reports_balanced_accuracy_and_rejected_forget_samples():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)

    def logits(sure):  # class 1 is harder: only a threshold of its own separates its members
        return np.stack([np.zeros(60), np.zeros(60)], 1) + np.eye(2)[labels] * (
            np.where(labels == 0, 6, 1) + sure + 0.1 * rng.normal(size=60)
        ).reshape(-1, 1)

    retain, test, forget, unseen = logits(2), logits(0), logits(2), logits(0)
    parts = mia_threshold_by_class(forget, labels, unseen, labels, retain, labels, test, labels)
    assert parts["_accuracy"].value == pytest.approx(1)
    assert parts["_efficacy"].value == pytest.approx(0)
    forgotten = mia_threshold_by_class(unseen, labels, unseen, labels, retain, labels, test, labels)
    assert forgotten["_accuracy"].value == pytest.approx(0.5)
    assert forgotten["_efficacy"][:3] == pytest.approx(proportion(np.ones(60))[:3])
