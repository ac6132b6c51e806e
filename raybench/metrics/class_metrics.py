"""Accuracy by class, and what a collapsed model gets: the numbers that plain accuracy hides on unbalanced data.

A model that always answers "young" has 0.827 of MUCAC's test images right, and a balanced accuracy of 0.5.
"""

import math

import numpy as np

from raybench.metrics.accuracy import BLOCKS, jackknife_of_sums, multilabel, per_class, right_decisions
from raybench.metrics.framework.arrays import Array, as_array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.intervals import clopper_pearson, proportion

_SPLITS = ("retain", "forget", "test", "unseen")


@metric(
    source="Brodersen et al. 2010 (ICPR)",
    direction="match",
    low=0,
    high=1,
    splits=_SPLITS,
    cost="samples * classes",
    caution="A class of a few samples counts as much as one of thousands: then the interval is wide, and rightly so.",
)
def balanced_accuracy(logits: Array, labels: Array) -> Estimate:
    """Return the mean over classes of the accuracy on each, in 0..1; a constant model gets 1 over their number.

    With labels (N, L) the mean over labels of the mean over their two sides. Classes without a sample do not count.
    Match the retrained models. Interval: jackknife over at most 50 blocks of samples; where these do not differ, from
    the exact ones of each class.
    """
    right = right_decisions(logits, labels)
    targets = as_array(labels, dtype=None).astype(np.int64).reshape(right.shape)
    n, num_labels = right.shape
    sides = np.shape(logits)[1] if np.ndim(labels) == 1 else 2
    blocks = min(n, BLOCKS)
    shape = (blocks, num_labels, sides)
    cells = np.ravel_multi_index(
        np.broadcast_arrays(np.arange(n)[:, None] % blocks, np.arange(num_labels), targets), shape
    ).ravel()
    size = int(np.prod(shape))
    sums = np.stack([np.bincount(cells, minlength=size), np.bincount(cells, right.ravel(), size)], axis=1)
    sums = sums.reshape(*shape, 2)
    estimate = jackknife_of_sums(sums, _balanced, n=n)
    return estimate if estimate.low < estimate.high else _without_spread(sums.sum(axis=0), n)


@metric(
    source="none: the majority class as a baseline (ZeroR)",
    direction="match",
    low=0,
    high=1,
    splits=("test", "forget"),
    cost="samples",
    caution="A fact of the labels, the same for every model: an `accuracy` close to it belongs to a collapsed model.",
)
def majority_accuracy(labels: Array) -> Estimate:
    """Return the accuracy of always answering the split's most common label (N,), or labels (N, L), in 0..1.

    With labels (N, L) the mean over labels. The interval is that which `accuracy` gives such a model: it takes the
    label as known, though it was chosen on these samples. Raise ValueError for empty sets.
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
    caution="As many rows as classes: some will lie outside the retrained models' range by chance.",
    on_request=True,
)
def accuracy_by_class(logits: Array, labels: Array) -> dict[str, Estimate]:
    """Return the accuracy on each class as `_<index>`, in 0..1; with labels (N, L) that of each label.

    Classes without a sample are left out. Match the retrained models. Intervals: Clopper-Pearson.
    """
    if np.ndim(labels) == 2:
        shares = multilabel(logits, labels).per_label
        counts = np.full(len(shares), len(labels))
    else:
        shares = per_class(logits, labels)
        counts = np.bincount(as_array(labels, dtype=None).astype(np.int64), minlength=len(shares))
    return {f"_{i}": clopper_pearson(round(shares[i] * counts[i]), int(counts[i])) for i in np.flatnonzero(counts)}


def _balanced(sums: np.ndarray) -> float:
    """Return the mean over labels of the mean over sides of right / count, from sums (L, sides, [count, right])."""
    counts, right = sums[..., 0], sums[..., 1]
    shares = np.divide(right, counts, out=np.zeros_like(right), where=counts > 0)
    return float(np.mean(shares.sum(axis=1) / (counts > 0).sum(axis=1)))


def _without_spread(sums: np.ndarray, n: int) -> Estimate:
    """Join exact intervals: sides of a label are independent (variance estimates recovery), labels need not be."""
    value, below, above = _balanced(sums), 0.0, 0.0
    for label in sums:
        found = [clopper_pearson(right, count) for count, right in label if count]
        below += math.hypot(*(side.value - side.low for side in found)) / len(found) / len(sums)
        above += math.hypot(*(side.high - side.value for side in found)) / len(found) / len(sums)
    low, high = max(0.0, value - below), min(1.0, value + above)
    return Estimate(value, low, high, n, "mover of clopper-pearson: no spread seen")
