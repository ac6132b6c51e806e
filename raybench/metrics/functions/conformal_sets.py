"""Prediction sets from logits: which samples' labels they hold, and how large they are, all alphas from one softmax."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from raybench.metrics.framework.arrays import Array, as_logits_and_labels
from raybench.metrics.functions.conformal_quantile import thresholds
from raybench.metrics.functions.conformal_scores import ScoreName, score_blocks, true_label_scores
from raybench.metrics.functions.softmax import NARROW


def prediction_sets(
    logits: Array,
    labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    alphas: float | Sequence[float],
    *,
    score: ScoreName = "lac",
    **settings: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return thresholds (alphas, C), whether each set holds its sample's label and its size, both (alphas, N).

    A threshold without enough calibration samples is +inf. Raise ValueError for labels (N, L) and for calibration
    logits of another number of classes. `settings` are those of `thresholds`.
    """
    values, targets = single_label(logits, labels)
    held_out, held_out_labels = single_label(calibration_logits, calibration_labels)
    num_classes = values.shape[1]
    if held_out.shape[1] != num_classes:
        raise ValueError(f"{num_classes} classes here, but {held_out.shape[1]} in the calibration logits")
    own = true_label_scores(held_out, held_out_labels, score)
    cut = thresholds(own, held_out_labels, alphas, num_classes=num_classes, **settings)
    return cut, *_members(values, targets, cut, score)


def set_members(
    logits: Array, labels: Array, cut: np.ndarray, *, score: ScoreName = "lac"
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each set holds its sample's label, and its size: bool and int (alphas, N), for `cut` (alphas, C).

    Membership is S <= q in the expression that made the calibration scores; `p >= 1 - q` loses the boundary in floats.
    """
    return _members(*single_label(logits, labels), cut, score)


def single_label(logits: Array, labels: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, C) and labels (N,); raise ValueError for labels (N, L)."""
    values, targets = as_logits_and_labels(logits, labels, dtype=None)
    if targets.ndim != 1:
        raise ValueError("prediction sets need one class per sample, labels (N,); these are multi-label")
    return values, targets


def _members(
    logits: np.ndarray, labels: np.ndarray, cut: np.ndarray, score: ScoreName
) -> tuple[np.ndarray, np.ndarray]:
    inside = np.empty((len(cut), len(logits)), dtype=bool)
    sizes = np.empty((len(cut), len(logits)), dtype=np.int64)
    for rows, scores in score_blocks(logits, score):
        own = scores[np.arange(len(scores)), labels[rows]]
        for a, q in enumerate(cut):
            inside[a, rows] = own <= q[labels[rows]]
            sizes[a, rows] = _row_counts(scores, q)
    return inside, sizes


def _row_counts(scores: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return how many of each row are at most q; 4x faster than a sum of booleans along the rows."""
    if scores.shape[1] < NARROW:
        limit = q[0] if (q == q[0]).all() else q[:, None]  # a column compares 5x slower than a number
        by_class = np.ascontiguousarray(scores.T) <= limit
        return np.add.reduce(by_class.view(np.uint8), axis=0, dtype=np.uint8)
    return (scores <= q).astype(np.float32) @ np.ones(len(q), dtype=np.float32)
