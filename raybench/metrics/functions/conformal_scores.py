"""Nonconformity scores S(x, y) from logits, for every class: the larger, the less the label fits.

`lac` is -log p_y, a monotone form of the usual 1 - p_y with the same prediction sets. A memorizing network has
quantiles of 1 - p_y around 0.9999 and underflows p_y to 0, where 1 - p_y ties and puts every class into every set; -log
p_y still separates 40 nats from 400.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, Ints, as_array
from raybench.metrics.framework.streaming import Positions
from raybench.metrics.functions.softmax import log_softmax, row_blocks

ScoreName = Literal["lac", "margin", "aps", "raps"]
RANDOMIZED = ("aps", "raps")  # scores that are defined with a uniform draw for each sample


class Score(NamedTuple):
    """A score with its settings: `penalty` and `free_ranks` of `raps`, and one draw per sample for `randomized`."""

    name: ScoreName = "lac"
    penalty: float = 0.01
    free_ranks: int = 5
    randomized: bool = False
    seed: int = 0


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

    Raise ValueError for a negative penalty or number of ranks. Reference: Angelopoulos et al. 2021, arXiv 2009.14193
    (regularized adaptive prediction sets).
    """
    if penalty < 0 or free_ranks < 0:
        raise ValueError(f"penalty and free_ranks of raps must not be negative, got {penalty:g} and {free_ranks}")
    _, _, rank = _ranked(logits)
    return aps(logits, u=u) + penalty * np.maximum(0, rank - free_ranks)


SCORES: dict[str, Callable[..., Floats]] = {"lac": lac, "margin": margin, "aps": aps, "raps": raps}


def score_blocks(
    logits: Floats, score: Score | ScoreName, *, stream: int = 0, positions: Positions | None = None
) -> Iterator[tuple[slice, Floats]]:
    """Yield (rows, their float64 scores (rows, C)) in blocks that stay in cache, for any N and C.

    Samples of different streams get different draws where the score is randomized; `positions` says which samples of
    all of them these are. Raise ValueError for an unknown
    score, and for a randomized one that is not defined with a draw.
    """
    settings = Score(score) if isinstance(score, str) else score
    if settings.name not in SCORES:
        raise ValueError(f"unknown conformal score {settings.name!r} (allowed: {', '.join(SCORES)})")
    if settings.randomized and settings.name not in RANDOMIZED:
        raise ValueError(f"{settings.name} has no randomized form (randomized scores: {', '.join(RANDOMIZED)})")
    draws = None
    if settings.randomized:
        rows, total = positions or Positions(np.arange(len(logits)), len(logits))
        draws = np.random.default_rng([settings.seed, stream]).random(total)[rows]
    options: dict[str, float] = {}
    if settings.name == "raps":
        options = {"penalty": settings.penalty, "free_ranks": settings.free_ranks}
    for block in row_blocks(logits.shape):
        u = {} if draws is None else {"u": draws[block]}
        yield block, SCORES[settings.name](logits[block], **options, **u)


def true_label_scores(logits: Floats, labels: Ints, score: Score | ScoreName, *, stream: int = 0) -> Floats:
    """Return the score of each sample's true label, (N,); `stream` as in `score_blocks`."""
    values = np.empty(len(logits))
    for rows, scores in score_blocks(logits, score, stream=stream):
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
