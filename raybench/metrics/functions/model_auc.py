"""The area under the ROC curve of scores (models, samples), with its interval over models.

The result is that of `intervals.delong` with models as groups, computed from one sort of all scores: a fraction of a
second for millions of them.
"""

import numpy as np

from raybench.metrics.framework.arrays import Bools, Floats, Ints
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.intervals import auc_estimate


def auc_over_models(scores: Floats, member: Bools, *, confidence: float = 0.95) -> Estimate:
    """Compute P(member > non-member) + P(equal) / 2 over all entries of scores (models, samples), in 0..1.

    `member` is boolean, of the same shape; a model may have entries on both sides. Exact under ties. Without variance
    the interval is the exact binomial one at the smaller number of models. Raise ValueError without members or without
    non-members. Reference: Obuchowski 1997.
    """
    order = np.argsort(scores, axis=None)
    inside, model, ordered = member.ravel()[order], order // scores.shape[1], scores.ravel()[order]
    m = int(inside.sum())
    n = len(inside) - m
    if not m or not n:
        raise ValueError("an AUC needs members and non-members")
    members_up_to = np.concatenate([[0], np.cumsum(inside)])
    first, last = _runs(ordered)
    members_below = (members_up_to[first] + members_up_to[last]) / 2
    others_below = (first + last) / 2 - members_below
    above = np.where(inside, others_below / n, 0.0)
    below = np.where(inside, 0.0, (m - members_below) / m)
    auc = float(above.sum() / m)
    models = len(scores)
    members, others = member.sum(axis=1), (~member).sum(axis=1)
    residual_in = np.bincount(model, weights=above, minlength=models) - auc * members
    residual_out = np.bincount(model, weights=below, minlength=models) - auc * others
    groups_in, groups_out = int((members > 0).sum()), int((others > 0).sum())
    units, variance = min(groups_in, groups_out), 0.0
    if units > 1:
        variance += groups_in / (groups_in - 1) * float(residual_in @ residual_in) / m**2
        variance += groups_out / (groups_out - 1) * float(residual_out @ residual_out) / n**2
        variance += 2 * models / (models - 1) * float(residual_in @ residual_out) / (m * n)
    interval = "delong, clustered by model"
    return auc_estimate(auc, variance, units=units, n=m + n, interval=interval, confidence=confidence)


def _runs(ordered: Floats) -> tuple[Ints, Ints]:
    """Return where the run of equal values around each position starts, and where it ends (exclusive)."""
    positions = np.arange(len(ordered))
    new = ordered[1:] != ordered[:-1]
    if new.all():
        return positions, positions + 1
    starts = np.concatenate([[0], np.flatnonzero(new) + 1])
    ends = np.concatenate([starts[1:], [len(ordered)]])
    run = np.concatenate([[0], np.cumsum(new)])
    return starts[run], ends[run]
