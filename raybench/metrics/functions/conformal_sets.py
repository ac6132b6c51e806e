"""Conformal prediction sets from logits: which contain the true label, and how large they are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from raybench.metrics.framework.arrays import Array, Bools, Floats, Ints, as_logits_and_labels
from raybench.metrics.framework.row_wise import RowWise
from raybench.metrics.framework.streaming import Accumulator, Positions, State, mergeable
from raybench.metrics.functions.conformal_quantile import Calibration, Rule, thresholds
from raybench.metrics.functions.conformal_scores import Score, ScoreName, score_blocks, true_label_scores
from raybench.metrics.functions.softmax import NARROW


class _Sets:
    """Prediction sets of a piece: thresholds once, then block by block."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)
        self._cut: Floats | None = None
        self._blocks: list[tuple[Bools, Ints]] = []

    def update(self, arrays: Mapping[str, Any], positions: Positions) -> None:
        values, targets = single_label(arrays["logits"], arrays["labels"])
        if self._cut is None:
            held_out = (arrays["calibration_logits"], arrays["calibration_labels"])
            self._cut = _calibrated(*held_out, num_classes=values.shape[1], **self._settings)
        self._blocks.append(_members(values, targets, self._cut, self._settings["score"], positions))

    def state(self) -> State:
        inside, sizes = (np.concatenate(parts, axis=1) for parts in zip(*self._blocks, strict=True))
        assert self._cut is not None
        return {"0": self._cut, "1": inside, "2": sizes.astype(np.int32)}


class _MergeSets(RowWise):
    def accumulator(self, function: Callable[..., Any], settings: Mapping[str, Any]) -> Accumulator:
        return _Sets(settings)


@mergeable(_MergeSets(axes=(None, 1, 1)), whole=("calibration_logits", "calibration_labels"))
def prediction_sets(
    logits: Array,
    labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    alphas: float | Sequence[float],
    *,
    score: Score | ScoreName = "lac",
    rule: Rule = "exact",
    calibration: Calibration = "marginal",
    forget_classes: Sequence[int] = (),
    positions: Positions | None = None,
) -> tuple[Floats, Bools, Ints]:
    """Return thresholds (alphas, C), whether each set holds its true label, and its size, both (alphas, N).

    All alphas share one softmax. A threshold without enough calibration samples is +inf. `rule`, `calibration` and
    `forget_classes` are those of `thresholds`. `positions`: which samples of a larger set these are, for randomized
    scores. Raise ValueError for labels (N, L) and for calibration logits with another number of classes.
    """
    values, targets = single_label(logits, labels)
    settings: dict[str, Any] = {"alphas": alphas, "score": score, "rule": rule, "calibration": calibration}
    held_out = (calibration_logits, calibration_labels)
    cut = _calibrated(*held_out, num_classes=values.shape[1], **settings, forget_classes=forget_classes)
    return cut, *_members(values, targets, cut, score, positions)


def _calibrated(
    logits: Array,
    labels: Array,
    *,
    num_classes: int,
    alphas: float | Sequence[float],
    score: Score | ScoreName,
    **settings: Any,
) -> Floats:
    values, targets = single_label(logits, labels)
    if values.shape[1] != num_classes:
        raise ValueError(f"{num_classes} classes here, but {values.shape[1]} in the calibration logits")
    return thresholds(true_label_scores(values, targets, score), targets, alphas, num_classes=num_classes, **settings)


def set_members(logits: Array, labels: Array, cut: Floats, *, score: Score | ScoreName = "lac") -> tuple[Bools, Ints]:
    """Return whether each set holds its true label, and its size: bool and int (alphas, N), for `cut` (alphas, C).

    Membership is S <= q with the same expression that computed the calibration scores; `p >= 1 - q` would lose the
    boundary in floats.
    """
    return _members(*single_label(logits, labels), cut, score)


class CoverageRatio(NamedTuple):
    """Coverage, mean set size and their ratio, one entry for each alpha."""

    alphas: Floats
    thresholds: Floats  # (alphas, C), on the scale of the score
    coverage: Floats  # in 0..1
    set_size: Floats  # in 0..C
    ratio: Floats  # in 0..1, 1 / C for full sets; NaN exactly where `all_empty`
    all_empty: Bools  # True where no set holds any class, so that the ratio is 0 / 0


def coverage_ratio(
    logits: Array,
    labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    *,
    alphas: float | Sequence[float] = (0.05, 0.1, 0.15, 0.2),
    score: Score | ScoreName = "lac",
    rule: Rule = "exact",
    calibration: Calibration = "marginal",
    forget_classes: Sequence[int] = (),
) -> CoverageRatio:
    """Compute coverage, set size and CR (conformal ratio) of logits (N, C) at every alpha.

    All alphas share one softmax over each array. A threshold without enough calibration samples is +inf, so its sets
    are full. Raise ValueError for labels (N, L).
    """
    settings: dict[str, Any] = {
        "score": score,
        "rule": rule,
        "calibration": calibration,
        "forget_classes": forget_classes,
    }
    cut, inside, sizes = prediction_sets(logits, labels, calibration_logits, calibration_labels, alphas, **settings)
    covered, size = inside.mean(axis=1), sizes.mean(axis=1)
    empty = size == 0
    ratio = np.divide(covered, size, out=np.full(len(size), np.nan), where=~empty)
    return CoverageRatio(np.atleast_1d(np.asarray(alphas, dtype=float)), cut, covered, size, ratio, empty)


def single_label(logits: Array, labels: Array) -> tuple[Floats, Ints]:
    """Return logits (N, C) and labels (N,); raise ValueError for labels (N, L)."""
    values, targets = as_logits_and_labels(logits, labels, dtype=None)
    if targets.ndim != 1:
        raise ValueError("prediction sets need one class per sample, labels (N,); these are multi-label")
    return values, targets


def _members(
    logits: Floats, labels: Ints, cut: Floats, score: Score | ScoreName, positions: Positions | None = None
) -> tuple[Bools, Ints]:
    inside = np.empty((len(cut), len(logits)), dtype=bool)
    sizes = np.empty((len(cut), len(logits)), dtype=np.int64)
    # other draws than those of the calibration samples
    for rows, scores in score_blocks(logits, score, stream=1, positions=positions):
        true = scores[np.arange(len(scores)), labels[rows]]
        for a, q in enumerate(cut):
            inside[a, rows] = true <= q[labels[rows]]
            sizes[a, rows] = _row_counts(scores, q)
    return inside, sizes


def _row_counts(scores: Floats, q: Floats) -> np.ndarray:
    """Return how many of each row are at most q; 4x faster than a sum of booleans along the rows."""
    if scores.shape[1] < NARROW:
        limit = q[0] if (q == q[0]).all() else q[:, None]  # a column compares 5x slower than a number
        by_class = np.ascontiguousarray(scores.T) <= limit
        return np.asarray(np.add.reduce(by_class.view(np.uint8), axis=0, dtype=np.uint8))
    return (scores <= q).astype(np.float32) @ np.ones(len(q), dtype=np.float32)
