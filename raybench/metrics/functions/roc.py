"""The ROC curve of a membership score, exact under ties and fast: each side is sorted alone, then both are merged.

A higher score indicates a member. The true positive rate at a low false positive rate is the best over the thresholds
that respect it, never an interpolation: with 300 non-members a rate of 0.1 % allows no false positive at all.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc

from raybench.metrics.framework.arrays import Array, Floats, Ints, as_vector
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.intervals import effective_size, proportion


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
    member_scores: Array,
    non_member_scores: Array,
    fprs: Sequence[float],
    *,
    member_groups: Array | None = None,
    non_member_groups: Array | None = None,
) -> dict[float, Estimate]:
    """Compute the true positive rate at each false positive rate, with an interval over members and non-members.

    The threshold that really has the false positive rate lies between two order statistics of the non-members. The
    interval combines the rates at these two with the exact interval of the members at the threshold that is used
    (variance estimates recovery); coverage is 94 to 100 %. Where N is too small to resolve the rate the interval is
    wide, and `interval` names the number of false positives that was used. References: Hilgers 1991 (order statistics);
    Zou and Donner 2008.
    """
    members = as_vector(member_scores, name="member scores")
    others = as_vector(non_member_scores, name="non-member scores")
    ordered = np.sort(others)
    rates = {}
    for fpr in fprs:
        allowed = _allowed(fpr, len(others))
        estimate = proportion(members > _cut(ordered, allowed), groups=member_groups)
        size = float(len(others))
        if non_member_groups is not None:
            size = effective_size((others > _cut(ordered, allowed)).astype(np.float64), non_member_groups)
        few, many = (_binomial_quantile(p, size, fpr) * len(others) / size for p in (0.025, 0.975))
        strictest = float(np.mean(members > _cut(ordered, math.ceil(few) - 1)))
        loosest = float(np.mean(members > _cut(ordered, math.floor(many))))
        below = math.hypot(estimate.value - estimate.low, estimate.value - min(estimate.value, strictest))
        above = math.hypot(estimate.high - estimate.value, max(estimate.value, loosest) - estimate.value)
        low, high = max(0.0, estimate.value - below), min(1.0, estimate.value + above)
        estimate = estimate._replace(low=low, high=high, interval=f"mover of {estimate.interval} and order statistics")
        if not allowed and fpr > 0:
            estimate = estimate._replace(interval=f"{estimate.interval}, at 0 of {len(others)} false positives")
        rates[float(fpr)] = estimate
    return rates


def _cut(ordered: Floats, exceeding: int) -> float:
    """Return the value that only the `exceeding` largest exceed; scores strictly above it are called members."""
    rank = len(ordered) - exceeding - 1
    if rank >= len(ordered):
        return math.inf
    return float(ordered[rank]) if rank >= 0 else -math.inf


def _binomial_quantile(probability: float, n: float, p: float) -> int:
    """Return the smallest k with P(K <= k) >= probability for K binomial of n trials, which may be fractional."""
    return bisect_left(range(math.ceil(n)), probability, key=lambda k: float(betainc(n - k, k + 1, 1 - p)))


def _allowed(fpr: float, n: int) -> int:
    if not 0 <= fpr <= 1:
        raise ValueError(f"a false positive rate must lie in 0..1, got {fpr}")
    # 0.07 * 100 is 7.000000000000001 and 0.29 * 100 is 28.999999999999996
    return int(np.floor(fpr * n + 1e-9))
