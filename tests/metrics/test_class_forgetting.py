"""Test accuracy by forgotten and retained classes, and k-NN where no retain sample can vote."""

import numpy as np
import pytest

from raybench.metrics.accuracy import accuracy
from raybench.metrics.class_forgetting import accuracy_forgotten_classes, accuracy_retained_classes
from raybench.metrics.representation import knn
from raybench.scoring.average_gap import average_gap_rows

LABELS = np.array([0, 0, 1, 1, 2, 2, 2, 2])
PREDICTED = np.array([0, 1, 1, 1, 2, 2, 2, 0])
LOGITS = np.eye(3)[PREDICTED]
FORGET, RETAIN = np.array([0, 0]), np.array([1, 2, 2])


def test_known_answers():
    kept = accuracy_retained_classes(LOGITS, LABELS, FORGET, RETAIN)
    forgotten = accuracy_forgotten_classes(LOGITS, LABELS, FORGET, RETAIN)
    assert (kept.value, kept.n) == (5 / 6, 6)
    assert (forgotten.value, forgotten.n) == (0.5, 2)
    assert kept == accuracy(LOGITS[2:], LABELS[2:])
    assert accuracy(LOGITS, LABELS).value == pytest.approx((6 * kept.value + 2 * forgotten.value) / 8)


def test_a_class_that_a_search_used_counts_as_retained():
    """The reported half of retain may lack the classes of the tuning request; they are not forgotten."""
    assert accuracy_retained_classes(LOGITS, LABELS, FORGET, np.array([2])).n == 6


def test_without_a_forgotten_class_there_is_a_reason():
    for metric in (accuracy_retained_classes, accuracy_forgotten_classes):
        with pytest.raises(ValueError, match="no class is forgotten as a whole"):
            metric(LOGITS, LABELS, FORGET, np.array([0, 1, 2]))
    with pytest.raises(ValueError, match="no test sample has a forgotten class"):
        accuracy_forgotten_classes(LOGITS[2:], LABELS[2:], FORGET, RETAIN)
    with pytest.raises(ValueError, match="no test sample has a retained class"):
        accuracy_retained_classes(LOGITS[:2], LABELS[:2], FORGET, RETAIN)


def test_knn_is_undefined_where_no_retain_sample_has_a_class_of_the_samples():
    features = np.random.default_rng(0).normal(size=(8, 4))
    with pytest.raises(ValueError, match="no retain sample has a class of these samples"):
        knn(features[:2], FORGET, features[2:], LABELS[2:], k=1)
    assert knn(features, LABELS, features[2:], LABELS[2:], k=1).value >= 6 / 8


def test_the_average_gap_takes_the_test_accuracy_of_the_retained_classes():
    def rows(model, kind, *, forget, test, retained):
        values = {("accuracy", "forget"): forget, ("accuracy", "retain"): 1.0, ("accuracy", "test"): test}
        values |= {("accuracy_retained_classes", "test"): retained, ("mia_auc", None): 0.5}
        model_of = {"model": model, "name": model, "kind": kind, "method": kind, "seed": 0, "original": 0}
        return [
            {**model_of, "metric": metric, "split": split, "value": value, "low": None, "high": None}
            for (metric, split), value in values.items()
            if value is not None
        ]

    retrained = [rows(f"r{i}", "retrained", forget=0.0, test=0.90, retained=0.99) for i in range(2)]
    original = rows("o", "original", forget=1.0, test=0.99, retained=0.99)
    gaps = {
        row["model"]: row["value"] for row in average_gap_rows([row for part in (*retrained, original) for row in part])
    }
    assert gaps["o"] == pytest.approx(100 * 1.0 / 4)  # only the forget accuracy differs
    without = [[row for row in part if "retained" not in row["metric"]] for part in (*retrained, original)]
    gaps = {row["model"]: row["value"] for row in average_gap_rows([row for part in without for row in part])}
    assert gaps["o"] == pytest.approx(100 * 1.09 / 4)
