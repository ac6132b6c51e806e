"""Which decisions are correct, top-k accuracy, and the counts behind the calibration error."""

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, as_array, as_logits_and_labels


def top_k(logits: Array, labels: Array, k: int = 1) -> float:
    """Compute the fraction of samples (N, C) whose label (N,) is among the k largest logits, in 0..1.

    Equal logits rank by class index, as argmax does: constant logits predict class 0 and get no credit for the others.
    Raise ValueError for k outside 1..C or labels (N, L).
    """
    scores, targets = as_logits_and_labels(logits, labels, dtype=None)
    if targets.ndim != 1:
        raise ValueError("top-k needs one class per sample, labels (N,)")
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must lie in 1..{scores.shape[1]}, got {k}")
    true = np.take_along_axis(scores, targets[:, None], axis=1)
    rank = (scores > true).sum(axis=1)
    rank += ((scores == true) & (np.arange(scores.shape[1]) < targets[:, None])).sum(axis=1)
    return float(np.mean(rank < k))


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
    correct = correct_decisions(logits, labels)
    scores = as_array(logits)
    if correct.shape[1] == 1 and np.ndim(labels) == 1:
        confidence = 1 / np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)
    else:
        confidence = 1 / (1 + np.exp(-np.abs(scores)))
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    hits = bin_of[:, :, None] == np.arange(bins)  # (N, L, bins)
    return np.stack([hits.sum(axis=1), (hits * (correct - confidence)[:, :, None]).sum(axis=1)], axis=2)


def error_of_counts(counts: Floats) -> float:
    """Return the expected calibration error from counts (bins, 2) summed over samples."""
    return float(np.abs(counts[:, 1]).sum() / counts[:, 0].sum())
