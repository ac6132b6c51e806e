"""Epsilon from every threshold of a score at once: a table over error counts, indexed by the counts of each sample.

For an attack that calls retrained models unlearned at rate FPR and unlearned ones retrained at rate FNR,

    epsilon >= max(ln((1 - delta - FPR) / FNR), ln((1 - delta - FNR) / FPR)).

Both rates are counts, so there are at most (N + 1)(M + 1) values and a finite one lies on a lattice; at 512 models per
side the table takes 2 MB. Scores are (samples, models) here: the models of a sample are adjacent in memory. A cut is a
threshold between two neighboring scores. Every function is exact under ties, which no cut can split, and accepts
unequal numbers of models.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from raybench.metrics.framework.arrays import Floats, Ints

_BLOCK = 1 << 16  # cuts at a time, so that the widest step stays in the cache


class Counts(NamedTuple):
    """Models above each cut, from none to all; rows are samples. An impossible cut repeats the last possible one."""

    retrained: Ints  # (S, N + M + 1)
    unlearned: Ints  # (S, N + M + 1)
    scores: Floats  # (S, N + M) descending


def cut_counts(unlearned: Floats, retrained: Floats) -> Counts:
    """Return the counts above every cut of scores (S, M) and (S, N)."""
    m, n = unlearned.shape[1], retrained.shape[1]
    joined = np.concatenate([retrained, unlearned], axis=1)
    order = np.argsort(-joined, axis=1)
    scores = np.take_along_axis(joined, order, axis=1)
    above = np.zeros((len(joined), n + m + 1), dtype=np.intp)
    np.cumsum(order >= n, axis=1, out=above[:, 1:])
    cuts = np.broadcast_to(np.arange(n + m + 1), above.shape)
    tied = scores[:, 1:] == scores[:, :-1]
    if tied.any():
        possible = np.where(tied, 0, cuts[:, 1:-1])
        last = np.concatenate([cuts[:, :1], np.maximum.accumulate(possible, axis=1), cuts[:, -1:]], axis=1)
        above, cuts = np.take_along_axis(above, last, axis=1), last
    return Counts(cuts - above, above, scores)


def epsilon_table(n_unlearned: int, n_retrained: int, delta: float) -> Floats:
    """Return epsilon (N + 1, M + 1) by counts of (retrained called unlearned, unlearned called unlearned).

    No error at all gives infinity. Exactly one kind of error gives -infinity, which leaves the cut out as in the
    released code: with no false positive among 80 the rate may still be 4 %.
    """
    fpr, fnr = _rates(n_unlearned, n_retrained)
    with np.errstate(divide="ignore"):
        first = _log_ratio(1 - delta - fpr, fnr)
        second = _log_ratio(1 - delta - fnr, fpr)
    table = np.maximum(first, second)
    table[(fpr == 0) != (fnr == 0)] = -np.inf
    table[(fpr == 0) & (fnr == 0)] = np.inf
    return table


def smoothed_tables(n_unlearned: int, n_retrained: int, delta: float) -> Floats:
    """Return epsilon (2, N + 1, M + 1) in each direction, by the same counts, with (errors + 1/2) / (models + 1)."""
    fpr, fnr = _rates(n_unlearned, n_retrained)
    fpr = (fpr * n_retrained + 0.5) / (n_retrained + 1)
    fnr = (fnr * n_unlearned + 0.5) / (n_unlearned + 1)
    return np.stack([_log_ratio(1 - delta - fpr, fnr), _log_ratio(1 - delta - fnr, fpr)])


def bound_table(n_unlearned: int, n_retrained: int, delta: float, alpha: float) -> Floats:
    """Return the lower bound of epsilon (N + 1, M + 1) by the same counts, from Clopper-Pearson bounds of both rates.

    Each rate is bounded at alpha / 2, so the bound holds in both directions together; it can be negative.
    """
    fpr, fnr = (
        _upper(np.arange(n_retrained + 1), n_retrained, alpha / 2)[:, None],
        _upper(np.arange(n_unlearned, -1, -1), n_unlearned, alpha / 2)[None, :],
    )
    return np.maximum(_log_ratio(1 - delta - fpr, fnr), _log_ratio(1 - delta - fnr, fpr))


def best_threshold(counts: Counts, table: Floats) -> Floats:
    """Return the best value of `table` (S,) over all cuts "above t is unlearned"; -infinity where none is possible."""
    best: Floats = table[counts.retrained, counts.unlearned].max(axis=1)
    return best


def best_interval(counts: Counts, table: Floats) -> Floats:
    """Return the best value of `table` (S,) over all intervals of the score and their complements.

    O(S (N + M)^2). Thresholds are included, as intervals with one open end.
    """
    either = np.maximum(table, table[::-1, ::-1]).ravel()
    flat = (
        counts.retrained * table.shape[1] + counts.unlearned
    )  # linear in the counts, so differences are indices as well
    samples, cuts = flat.shape
    best = np.full(samples, -np.inf)
    rows = max(1, _BLOCK // cuts)
    for start in range(0, samples, rows):
        block = np.ascontiguousarray(flat[start : start + rows].T)
        top = best[start : start + rows]
        for width in range(1, cuts):
            np.maximum(top, either[block[width:] - block[:-width]].max(axis=0), out=top)
    return best


def _rates(n_unlearned: int, n_retrained: int) -> tuple[Floats, Floats]:
    fpr = np.arange(n_retrained + 1)[:, None] / n_retrained
    fnr = np.arange(n_unlearned, -1, -1)[None, :] / n_unlearned
    shape = (n_retrained + 1, n_unlearned + 1)
    return np.broadcast_to(fpr, shape), np.broadcast_to(fnr, shape)


def _log_ratio(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numerator > 0, np.log(np.maximum(numerator, 0)) - np.log(denominator), -np.inf)


def _upper(errors: Ints, n: int, tail: float) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.where(errors >= n, 1.0, betaincinv(errors + 1, np.maximum(n - errors, 1), 1 - tail))
