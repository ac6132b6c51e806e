"""Accuracy in its forms: top-k, per class, per label, balanced, against the majority, and whether confidence is right.

RA and TA are `accuracy` on retain and test, UA is 1 - accuracy on forget. A benchmark number close to
`majority_baseline` belongs to a collapsed model: 0.1762 on MUCAC gender is the share of males.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array, as_logits_and_labels
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.intervals import jackknife, proportion

BLOCKS = 50  # of samples, for the jackknife


@dataclass(frozen=True)
class MultilabelAccuracy:
    """Share of right decisions: per label (L,), their plain mean, and of samples with every label right."""

    per_label: np.ndarray
    mean: float
    exact_match: float


@metric(
    source="1 - UA, RA and TA of Shi et al. 2025 (arXiv 2501.19403); utility of Choi and Na 2023 (arXiv 2311.02240)",
    direction="match",
    low=0,
    high=1,
    splits=("retain", "forget", "test", "unseen"),
    cost="samples * classes comparisons",
    caution=(
        "A share near that of the commonest label (0.824 for gender on MUCAC) belongs to a collapsed model. On retain "
        "and test it says nothing of memory: the digits' originals have 0.848 on test, retrained models 0.845."
    ),
    released=(
        "The code of arXiv 2501.19403 and 2503.06991 reads retain and forget through the training augmentation "
        "(`evaluate: {train_view: augmented}`). Digits trained with `augment: [affine]`, 4 models each: originals get "
        "0.976 instead of 0.998 on retain, retrained models 0.813 instead of 0.829 on forget."
    ),
)
def accuracy(logits: Array, labels: Array) -> Estimate:
    """Return top-1 accuracy (labels (N,)), or the mean accuracy per label (labels (N, L)), in 0..1.

    A label is decided at logit > 0. Interval: Clopper-Pearson; with labels (N, L) on the effective sample size, as the
    L decisions of one sample are not independent.
    """
    return proportion(right_decisions(logits, labels).mean(axis=1))


@metric(
    source="UA of Shi et al. 2025, arXiv 2501.19403; SalUn, arXiv 2310.12508",
    direction="match",
    low=0,
    high=1,
    cost="forget samples * classes comparisons",
    caution=(
        "Any damage raises it. The digits' poisoned models get 0.36, twice the retrained models' 0.18, while the vote "
        "of their features (`knn`) still names 0.92 of the forgotten labels."
    ),
    released="Read through the augmentation as `accuracy` is, it gives retrained models 0.187 instead of 0.171 there.",
)
def unlearning_accuracy(forget_logits: Array, forget_labels: Array) -> Estimate:
    """Return UA, 1 - accuracy on the forget set, in 0..1; higher than the retrained models' is over-forgetting."""
    right = accuracy(forget_logits, forget_labels)
    return Estimate(1 - right.value, 1 - right.high, 1 - right.low, right.n, right.interval)


@metric(
    source="Guo et al. 2017, arXiv 1706.04599",
    direction="match",
    low=0,
    high=1,
    splits=("retain", "forget", "test", "unseen"),
    cost="samples * (classes + bins)",
    caution=(
        "It follows the temperature, not the memory: dividing the logits by 3 takes the digits' originals from 0.003 "
        "to 0.24 on forget, past the retrained models' 0.14."
    ),
)
def calibration_error(logits: Array, labels: Array, *, bins: int = 15) -> Estimate:
    """Return the expected calibration error with a jackknife interval over at most 50 blocks of samples.

    Biased upwards for small N (about 0.8 sqrt(bins p (1 - p) / N) for a calibrated model): compare at equal N only.
    """
    counts = _calibration_counts(logits, labels, bins)
    blocks = min(len(counts), BLOCKS)
    sums = np.stack([counts[block::blocks].sum(axis=0) for block in range(blocks)])
    return jackknife_of_sums(sums, _calibration_error, n=len(counts))


def jackknife_of_sums(sums: np.ndarray, statistic: Callable[[np.ndarray], float], *, n: int) -> Estimate:
    """Return statistic(total), in 0..1, of `sums` (blocks, ...) over blocks of the n samples; interval: jackknife.

    The blocks should be of about equal size. Of one block, low and high are NaN and say so.
    """
    total = sums.sum(axis=0)
    full = statistic(total)
    if len(sums) == 1:
        return jackknife([full], full, n)
    estimate = jackknife([statistic(total - part) for part in sums], full, n)
    return estimate._replace(low=max(0.0, estimate.low), high=min(1.0, estimate.high))


def top_k(logits: Array, labels: Array, k: int = 1) -> float:
    """Return the share of samples (N, C) whose label (N,) is among the k largest logits, in 0..1.

    Equal logits rank by class index, as argmax does: constant logits are a prediction of class 0, not a free point.
    Raise ValueError for k outside 1..C or labels (N, L).
    """
    scores, targets = as_logits_and_labels(logits, labels, dtype=None)
    if targets.ndim != 1:
        raise ValueError("top-k needs one class per sample, labels (N,)")
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must lie in 1..{scores.shape[1]}, got {k}")
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    rank = (scores > own).sum(axis=1)
    rank += ((scores == own) & (np.arange(scores.shape[1]) < targets[:, None])).sum(axis=1)
    return float(np.mean(rank < k))


def per_class(logits: Array, labels: Array) -> np.ndarray:
    """Return accuracy on each class (C,), in 0..1; NaN for a class of which there is no sample.

    With labels (N, L): (L, 2), the accuracy of each label where it is 0 and where it is 1.
    """
    right = right_decisions(logits, labels)
    targets = as_array(labels, name="labels").astype(np.int64)
    if targets.ndim == 1:
        return _mean_by(targets, right[:, 0], as_array(logits, dtype=None).shape[1])
    return np.stack([_mean_by(targets[:, label], right[:, label], 2) for label in range(targets.shape[1])])


def multilabel(logits: Array, labels: Array) -> MultilabelAccuracy:
    """Return the accuracy of each label for logits and 0/1 labels (N, L), decided at sigmoid > 0.5, and their mean.

    Source: Choi and Na 2023 (arXiv 2311.02240), "average accuracy": the plain mean over labels, not the exact match.
    """
    right = right_decisions(logits, labels, multilabel_only=True)
    per_label = right.mean(axis=0)
    return MultilabelAccuracy(per_label, float(per_label.mean()), float(right.all(axis=1).mean()))


def balanced(logits: Array, labels: Array) -> float:
    """Return the mean over classes of the accuracy on each; classes without a sample do not count.

    With labels (N, L): the mean over labels of the mean over their two sides. A constant predictor gets 1 / C.
    """
    accuracies = np.atleast_2d(per_class(logits, labels))
    return float(np.mean([np.nanmean(row) for row in accuracies]))


def majority_baseline(labels: Array) -> float:
    """Return the accuracy of always answering the most common label (N,); with labels (N, L) the mean over labels."""
    targets = as_array(labels, name="labels", finite=True).astype(np.int64)
    if targets.ndim not in (1, 2) or not targets.size:
        raise ValueError(f"labels must have shape (N,) or (N, L) and not be empty, got {targets.shape}")
    if targets.ndim == 1:
        return float(np.unique(targets, return_counts=True)[1].max() / len(targets))
    return float(np.mean([majority_baseline(column) for column in targets.T]))


def expected_calibration_error(logits: Array, labels: Array, *, bins: int = 15) -> float:
    """Return the mean gap between confidence and accuracy over `bins` equal bins of confidence, weighted by count.

    Range 0..1, lower is better calibrated. Confidence is the largest softmax probability; with labels (N, L) that of
    the decided side of each label, all labels pooled. Bins are closed on the right. Source: Guo et al. 2017, eq. 3.
    """
    return _calibration_error(_calibration_counts(logits, labels, bins).sum(axis=0))


def right_decisions(logits: Array, labels: Array, *, multilabel_only: bool = False) -> np.ndarray:
    """Return which decisions are right, 1.0 or 0.0: (N, 1) for labels (N,), (N, L) for labels (N, L)."""
    scores, targets = as_logits_and_labels(logits, labels, dtype=None)
    if targets.ndim == 1:
        if multilabel_only:
            raise ValueError("multilabel accuracy needs labels (N, L) of zeros and ones")
        return (scores.argmax(axis=1) == targets)[:, None].astype(np.float64)
    return ((scores > 0) == (targets == 1)).astype(np.float64)


def _mean_by(index: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    counts = np.bincount(index, minlength=size)
    return np.divide(np.bincount(index, values, size), counts, out=np.full(size, np.nan), where=counts > 0)


def _calibration_counts(logits: Array, labels: Array, bins: int) -> np.ndarray:
    """Return (N, bins, 2): how many decisions of the sample fall into a bin, and their sum of right - confidence."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    right = right_decisions(logits, labels)
    scores = as_array(logits)
    if right.shape[1] == 1 and np.ndim(labels) == 1:
        confidence = 1 / np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)
    else:
        confidence = 1 / (1 + np.exp(-np.abs(scores)))
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    hits = bin_of[:, :, None] == np.arange(bins)  # (N, L, bins)
    return np.stack([hits.sum(axis=1), (hits * (right - confidence)[:, :, None]).sum(axis=1)], axis=2)


def _calibration_error(counts: np.ndarray) -> float:
    return float(np.abs(counts[:, 1]).sum() / counts[:, 0].sum())
