"""Which decisions are right, and how confidence and accuracy differ."""

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array, as_logits_and_labels


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


def correct_decisions(logits: Array, labels: Array) -> np.ndarray:
    """Return which decisions are right, 1.0 or 0.0: (N, 1) for labels (N,), (N, L) for labels (N, L)."""
    scores, targets = as_logits_and_labels(logits, labels, dtype=None)
    if targets.ndim == 1:
        return (scores.argmax(axis=1) == targets)[:, None].astype(np.float64)
    return ((scores > 0) == (targets == 1)).astype(np.float64)


def calibration_counts(logits: Array, labels: Array, bins: int) -> np.ndarray:
    """Return (N, bins, 2): how many decisions of the sample fall into a bin, and their sum of right - confidence."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    right = correct_decisions(logits, labels)
    scores = as_array(logits)
    if right.shape[1] == 1 and np.ndim(labels) == 1:
        confidence = 1 / np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)
    else:
        confidence = 1 / (1 + np.exp(-np.abs(scores)))
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    hits = bin_of[:, :, None] == np.arange(bins)  # (N, L, bins)
    return np.stack([hits.sum(axis=1), (hits * (right - confidence)[:, :, None]).sum(axis=1)], axis=2)


def error_of_counts(counts: np.ndarray) -> float:
    return float(np.abs(counts[:, 1]).sum() / counts[:, 0].sum())
