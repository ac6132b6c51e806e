"""Which decisions are correct, top-k accuracy, and the counts behind the calibration error."""

import numpy as np

from raybench.metrics.framework.arrays import Array, Bools, Floats, Ints, as_array, as_logits_and_labels
from raybench.metrics.framework.row_wise import row_wise, signal


def top_k(logits: Array, labels: Array, k: int = 1) -> float:
    """Compute the fraction of samples (N, C) whose label (N,) is among the k largest logits, in 0..1.

    Equal logits rank by class index, as argmax does: constant logits predict class 0 and get no credit for the others.
    Raise ValueError for k outside 1..C or labels (N, L).
    """
    rank, num_classes = true_rank(logits, labels), np.shape(logits)[1]
    if not 1 <= k <= num_classes:
        raise ValueError(f"k must lie in 1..{num_classes}, got {k}")
    return float(np.mean(rank <= k))


@signal
def true_rank(logits: Array, labels: Array) -> Ints:
    """Return the rank of the label among the logits, from 1 (N,); equal logits rank by class index."""
    scores, targets = as_logits_and_labels(logits, labels, dtype=None)
    if targets.ndim != 1:
        raise ValueError("top-k needs one class per sample, labels (N,)")
    true = np.take_along_axis(scores, targets[:, None], axis=1)
    rank: Ints = 1 + (scores > true).sum(axis=1)
    rank += ((scores == true) & (np.arange(scores.shape[1]) < targets[:, None])).sum(axis=1)
    return rank


@signal
def predicted_class(logits: Array) -> Ints:
    """Return the class with the largest logit (N,); the first of equal ones."""
    scores: Ints = as_array(logits, name="logits", finite=True, dtype=None).argmax(axis=1)
    return scores


@row_wise
def positive_labels(logits: Array) -> Bools:
    """Return which labels of a multi-label task are predicted (N, L): those with a logit above 0."""
    return np.asarray(as_array(logits, name="logits", finite=True, dtype=None) > 0)


@signal
def correct_decisions(logits: Array, labels: Array) -> Floats:
    """Return which decisions are correct, as 1.0 or 0.0: (N, 1) for labels (N,), (N, L) for labels (N, L).

    A label of (N, L) is predicted where its logit is above 0.
    """
    scores, targets = as_logits_and_labels(logits, labels, dtype=None)
    if targets.ndim == 1:
        return np.asarray(scores.argmax(axis=1) == targets, dtype=np.float64)[:, None]
    return np.asarray((scores > 0) == (targets == 1), dtype=np.float64)


def calibration_counts(logits: Array, labels: Array, bins: int) -> Floats:
    """Return (N, bins, 2): how many decisions of each sample fall into a bin, and their sum of correct - confidence."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    correct, confidence = correct_decisions(logits, labels), decision_confidence(logits, labels)
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    hits = bin_of[:, :, None] == np.arange(bins)  # (N, L, bins)
    return np.stack([hits.sum(axis=1), (hits * (correct - confidence)[:, :, None]).sum(axis=1)], axis=2)


@signal
def decision_confidence(logits: Array, labels: Array) -> Floats:
    """Return the probability of each decision: (N, 1) for labels (N,), (N, L) for labels (N, L)."""
    scores, targets = as_logits_and_labels(logits, labels)
    if targets.ndim == 1:
        top: Floats = 1 / np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)
        return top
    decided: Floats = 1 / (1 + np.exp(-np.abs(scores)))
    return decided


def error_of_counts(counts: Floats) -> float:
    """Return the expected calibration error from counts (bins, 2) summed over samples."""
    return float(np.abs(counts[:, 1]).sum() / counts[:, 0].sum())
