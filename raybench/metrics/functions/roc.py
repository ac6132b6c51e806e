"""The ROC curve of a membership score, exact under ties and fast: each side is sorted alone, then both are merged.

A higher score indicates a member. The true positive rate at a low false positive rate is the best over the thresholds
that respect it, never an interpolation: with 300 non-members a rate of 0.1 % allows no false positive at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, Ints, as_vector
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.intervals import proportion


@dataclass(frozen=True)
class Roc:
    """Counts above each threshold, from the strictest (nothing is called a member) to the loosest (everything is)."""

    thresholds: Floats  # (T,) descending, the first is infinity; "member" is score >= threshold
    true_positives: Ints  # (T,) members called members
    false_positives: Ints  # (T,) non-members called members
    n_member: int
    n_non_member: int

    @property
    def tpr(self) -> Floats:
        """Return the true positive rates (T,), ascending in 0..1."""
        return self.true_positives / self.n_member

    @property
    def fpr(self) -> Floats:
        """Return the false positive rates (T,), ascending in 0..1."""
        return self.false_positives / self.n_non_member

    @property
    def auc(self) -> float:
        """Return the area under the curve, from integer counts, so rounding errors do not accumulate."""
        doubled = np.dot(np.diff(self.false_positives), self.true_positives[1:] + self.true_positives[:-1])
        return float(doubled / (2 * self.n_member * self.n_non_member))


def roc(member_scores: Array, non_member_scores: Array) -> Roc:
    """Compute the ROC curve of scores (M,) and (N,): each distinct score is a threshold, equal scores stay together."""
    members = as_vector(member_scores, name="member scores")
    others = as_vector(non_member_scores, name="non-member scores")
    joined = np.concatenate([others, members])
    joined[: len(others)].sort()
    joined[len(others) :].sort()
    # a stable sort of two sorted runs is one merge: several times faster than one argsort of all
    order = np.argsort(joined, kind="stable")[::-1]
    thresholds = np.empty(len(joined) + 1)
    thresholds[0] = np.inf
    np.take(joined, order, out=thresholds[1:], mode="clip")  # "raise" would fill a copy first
    detected = np.zeros(len(joined) + 1, dtype=np.int64)
    np.cumsum(order >= len(others), out=detected[1:])
    wrong = np.arange(len(joined) + 1) - detected
    distinct = thresholds[1:-1] != thresholds[2:]
    if not distinct.all():
        last = np.concatenate([[0], np.flatnonzero(distinct) + 1, [len(joined)]])
        thresholds, detected, wrong = thresholds[last], detected[last], wrong[last]
    return Roc(thresholds, detected, wrong, len(members), len(others))


def auc(member_scores: Array, non_member_scores: Array) -> float:
    """Compute P(member > non-member) + P(equal) / 2, in 0..1, 0.5 = chance; one sort and one search, for sweeps."""
    members = np.sort(as_vector(member_scores, name="member scores"))
    others = np.sort(as_vector(non_member_scores, name="non-member scores"))
    doubled = np.searchsorted(others, members, "left").sum() + np.searchsorted(others, members, "right").sum()
    return float(doubled / (2 * len(members) * len(others)))


def tpr_at_fprs(
    member_scores: Array, non_member_scores: Array, fprs: Sequence[float], *, member_groups: Array | None = None
) -> dict[float, Estimate]:
    """Compute the true positive rate at each false positive rate, with the exact interval over members.

    The interval treats the threshold as fixed: it ignores that non-members are a sample too. Where N is too small to
    resolve the rate, `interval` names the number of false positives that was used.
    """
    members = as_vector(member_scores, name="member scores")
    others = as_vector(non_member_scores, name="non-member scores")
    rates = {}
    for fpr in fprs:
        allowed = _allowed(fpr, len(others))
        highest = len(others) - allowed - 1  # rank of the highest non-member that must stay below the threshold
        # strictly above it: a threshold at a tied member would let it pass
        called = members > np.partition(others, highest)[highest] if highest >= 0 else np.ones(len(members))
        estimate = proportion(called, groups=member_groups)
        if not allowed and fpr > 0:
            estimate = estimate._replace(interval=f"{estimate.interval}, at 0 of {len(others)} false positives")
        rates[float(fpr)] = estimate
    return rates


def _allowed(fpr: float, n: int) -> int:
    if not 0 <= fpr <= 1:
        raise ValueError(f"a false positive rate must lie in 0..1, got {fpr}")
    # 0.07 * 100 is 7.000000000000001 and 0.29 * 100 is 28.999999999999996
    return int(np.floor(fpr * n + 1e-9))
