"""Accuracy by class, and what a collapsed model gets: the numbers that plain accuracy hides on unbalanced data.

A model that always predicts "young" is right on 0.827 of MUCAC's test images and has a balanced accuracy of 0.5.
"""

import math

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.accuracy import correct_decisions
from raybench.metrics.functions.intervals import clopper_pearson, proportion

_SPLITS = ("retain", "forget", "test", "unseen")


@metric(
    source="Brodersen et al. 2010 (ICPR)",
    direction="match",
    low=0,
    high=1,
    splits=_SPLITS,
    cost="samples * classes",
    caution="A class of a few samples counts as much as one of thousands, which widens the interval accordingly.",
)
def balanced_accuracy(logits: Array, labels: Array) -> Estimate:
    """Measure how well the model does on every class alike: a collapsed model cannot profit from a frequent class.

    Match the retrained models; 1 / (number of classes) means that the model always predicts the same class. The mean
    over classes of the accuracy on each, in 0..1; for labels (N, L) the mean over labels of the mean over their two
    values. Classes without samples do not count.

    Interval: variance estimates recovery from the exact intervals of the classes (Zou and Donner 2008), with the
    correlation of labels over samples; coverage is 91 to 100 %, also with classes of 3 samples.
    """
    correct = correct_decisions(logits, labels)
    targets = as_array(labels, dtype=None).astype(np.int64).reshape(correct.shape)
    n, num_labels = correct.shape
    num_values = np.shape(logits)[1] if np.ndim(labels) == 1 else 2
    cells = (np.arange(num_labels) * num_values + targets).ravel()
    size = num_labels * num_values
    sums = np.stack([np.bincount(cells, minlength=size), np.bincount(cells, correct.ravel(), size)], axis=1)
    sums = sums.reshape(num_labels, num_values, 2)
    value, below, above = _balanced(sums), np.zeros(num_labels), np.zeros(num_labels)
    for label, of_values in enumerate(sums):
        estimates = [clopper_pearson(hits, count) for count, hits in of_values if count]
        below[label] = math.hypot(*(e.value - e.low for e in estimates)) / len(estimates)
        above[label] = math.hypot(*(e.high - e.value for e in estimates)) / len(estimates)
    correlation = _correlation_of_labels(correct, targets, sums)
    low, high = (
        value + sign * math.sqrt(max(0.0, float(ends @ correlation @ ends))) / num_labels
        for sign, ends in ((-1, below), (1, above))
    )
    return Estimate(value, max(0.0, low), min(1.0, high), n, "mover of clopper-pearson")


@metric(
    source="none: the majority class as a baseline (ZeroR)",
    direction="match",
    low=0,
    high=1,
    splits=("test", "forget"),
    cost="samples",
    caution="It depends on the labels only, so every model has the same value.",
)
def majority_accuracy(labels: Array) -> Estimate:
    """Compute the accuracy that a collapsed model gets: an `accuracy` close to this value means collapse.

    The accuracy of always predicting the most common label of the split (N,), in 0..1; for labels (N, L) the mean over
    labels.

    Interval: the one that `accuracy` gives such a model; it treats the label as known although it was chosen on these
    samples. Raise ValueError for empty sets.
    """
    targets = as_array(labels, name="labels", finite=True, dtype=None)
    if targets.ndim not in (1, 2) or not targets.size:
        raise ValueError(f"labels must have shape (N,) or (N, L) and not be empty, got {targets.shape}")
    columns = targets.reshape(len(targets), -1)
    common = []
    for column in columns.T:
        values, counts = np.unique(column, return_counts=True)
        common.append(values[counts.argmax()])
    return proportion((columns == np.array(common)).mean(axis=1))


@metric(
    source="none: accuracy within a class",
    direction="match",
    low=0,
    high=1,
    splits=_SPLITS,
    cost="samples * classes",
    caution="It adds as many rows as classes: some fall outside the range of the retrained models by chance.",
    on_request=True,
)
def accuracy_by_class(logits: Array, labels: Array) -> dict[str, Estimate]:
    """Measure which classes the model lost or kept: compare each class with the retrained models.

    The accuracy on each class as `_<index>`, in 0..1; for labels (N, L) the accuracy of each label. Classes without
    samples are left out.

    Interval: Clopper-Pearson.
    """
    correct = correct_decisions(logits, labels)
    if np.ndim(labels) == 2:
        counts, hits = np.full(correct.shape[1], len(correct)), correct.sum(axis=0)
    else:
        targets, num_classes = as_array(labels, dtype=None).astype(np.int64), np.shape(logits)[1]
        counts = np.bincount(targets, minlength=num_classes)
        hits = np.bincount(targets, correct[:, 0], num_classes)
    return {f"_{i}": clopper_pearson(round(hits[i]), int(counts[i])) for i in np.flatnonzero(counts)}


def _balanced(sums: np.ndarray) -> float:
    """Return the mean over labels of the mean over values of correct / count, of sums (L, values, [count, correct])."""
    counts, correct = sums[..., 0], sums[..., 1]
    fractions = np.divide(correct, counts, out=np.zeros_like(correct), where=counts > 0)
    return float(np.mean(fractions.sum(axis=1) / (counts > 0).sum(axis=1)))


def _correlation_of_labels(correct: np.ndarray, targets: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return how the balanced accuracies of the labels (L, L) correlate over samples; 1 where a label has no spread."""
    counts, hits = sums[..., 0], sums[..., 1]
    labels = np.arange(len(sums))
    count = counts[labels, targets]
    influence = (correct - hits[labels, targets] / count) / count
    norms = np.linalg.norm(influence, axis=0)
    products = np.outer(norms, norms)
    correlation = np.ones_like(products)
    np.divide(influence.T @ influence, products, out=correlation, where=products > 0)
    np.fill_diagonal(correlation, 1.0)
    return correlation
