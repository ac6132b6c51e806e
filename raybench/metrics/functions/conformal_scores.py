"""Nonconformity scores S(x, y) from logits, for every class: the larger, the less the label fits.

`lac` is -log p_y, a monotone form of the usual 1 - p_y with the same prediction sets. A memorizing network has
quantiles of 1 - p_y around 0.9999 and underflows p_y to 0, where 1 - p_y ties and puts every class into every set; -log
p_y still separates 40 nats from 400.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, Ints, as_array
from raybench.metrics.functions.softmax import log_softmax, row_blocks

ScoreName = Literal["lac", "margin", "aps", "raps"]


def lac(logits: Array) -> Floats:
    """Compute -log p_y for each class, (N, C) in [0, inf); `-expm1(-s)` turns a score or threshold into 1 - p_y.

    Reference: Sadinle, Lei and Wasserman 2019 (least ambiguous classifier); Eq. 1 of Shi et al. 2025, arXiv 2501.19403.
    """
    scores = log_softmax(as_array(logits, name="logits", dtype=None))
    return np.negative(scores, out=scores)


def margin(logits: Array) -> Floats:
    """Compute the largest other probability minus p_y for each class, (N, C) in [-1, 1]."""
    p = np.exp(log_softmax(as_array(logits, name="logits", dtype=None)))
    if p.shape[1] < 2:
        raise ValueError("the margin score needs at least two classes")
    top = np.partition(p, -2, axis=1)[:, -2:]
    is_first = np.arange(p.shape[1]) == p.argmax(axis=1)[:, None]
    return np.where(is_first, top[:, :1], top[:, 1:]) - p


def aps(logits: Array, *, u: Array = 1.0) -> Floats:
    """Compute the mass of the classes more likely than y plus u * p_y, (N, C) in [0, 1].

    `u` is 1 (deterministic, the default) or one uniform draw for each sample (N,). Equal probabilities do not count as
    more likely, so the order of the classes is irrelevant. Reference: Romano, Sesia and Candes 2020, arXiv 2006.02544
    (adaptive prediction sets).
    """
    p, more_likely, _ = _ranked(logits)
    # at u = 1 the least likely class scores 1 in every sample: a tie that the rounding of a sum must not break
    return np.round(more_likely + as_array(u, name="u").reshape(-1, 1) * p, 12)


def raps(logits: Array, *, u: Array = 1.0, penalty: float = 0.01, free_ranks: int = 5) -> Floats:
    """Compute `aps` plus penalty * max(0, rank of y - free_ranks), (N, C); the most likely class has rank 1.

    Reference: Angelopoulos et al. 2021, arXiv 2009.14193 (regularized adaptive prediction sets).
    """
    _, _, rank = _ranked(logits)
    return aps(logits, u=u) + penalty * np.maximum(0, rank - free_ranks)


SCORES: dict[str, Callable[..., Floats]] = {"lac": lac, "margin": margin, "aps": aps, "raps": raps}


def score_blocks(logits: Floats, score: ScoreName) -> Iterator[tuple[slice, Floats]]:
    """Yield (rows, their float64 scores (rows, C)) in blocks that stay in cache, for any N and C."""
    if score not in SCORES:
        raise ValueError(f"unknown conformal score {score!r} (allowed: {', '.join(SCORES)})")
    for rows in row_blocks(logits.shape):
        yield rows, SCORES[score](logits[rows])


def true_label_scores(logits: Floats, labels: Ints, score: ScoreName) -> Floats:
    """Return the score of each sample's true label, (N,)."""
    values = np.empty(len(logits))
    for rows, scores in score_blocks(logits, score):
        values[rows] = np.take_along_axis(scores, labels[rows, None], axis=1)[:, 0]
    return values


def _ranked(logits: Array) -> tuple[Floats, Floats, Ints]:
    """Return p, the mass of the strictly more likely classes, and the rank (1 + their number), each (N, C)."""
    p = np.exp(log_softmax(as_array(logits, name="logits", dtype=None)))
    order = np.argsort(-p, axis=1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=1)
    positions = np.broadcast_to(np.arange(p.shape[1]), p.shape)
    starts_a_tie = np.ones(p.shape, dtype=bool)
    starts_a_tie[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(starts_a_tie, positions, 0), axis=1)
    before = np.take_along_axis(np.cumsum(ordered, axis=1) - ordered, first, axis=1)
    more_likely, rank = np.empty_like(p), np.empty(p.shape, dtype=np.int64)
    np.put_along_axis(more_likely, order, before, axis=1)
    np.put_along_axis(rank, order, first + 1, axis=1)
    return p, more_likely, rank
