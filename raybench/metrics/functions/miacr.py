"""MIACR: conformal sets over {non-member, member} from the membership probability of an attack. Secondary to CR.

The set holds `member` where P >= 1 - q and `non-member` where P <= q; q is calibrated on samples labeled member. The
choice of those samples decides everything: with true members the guarantee holds; released code uses held-out images,
which drives q to 1, every set to {both} and MIACR (conformal ratio of a membership inference attack) to 0.
"""

from typing import Literal, NamedTuple

import numpy as np
from scipy.special import expit

from raybench.metrics.framework.arrays import Array, Floats, Ints, as_array
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.conformal_quantile import Rule, quantile
from raybench.metrics.functions.intervals import clopper_pearson


class MembershipCoverage(NamedTuple):
    """Statistics of the sets over {non-member, member} of the targets."""

    ratio: Estimate  # MIACR, in 0..1
    threshold: float  # q of 1 - P(member), 1 or below, or +inf with too few calibration samples
    set_size: float  # mean, in 0..2
    member_fraction: float  # of targets classified as member at P > 0.5 (which released code reports as MIA)
    efficacy: float  # 1 - member_fraction
    fake_fraction: float | None  # of targets classified as non-member, those with `member` in the set; None without any


def membership_coverage_ratio(
    target_probabilities: Array,
    calibration_probabilities: Array,
    *,
    alpha: float = 0.05,
    variant: Literal["singleton", "member_excluded"] = "singleton",
    rule: Rule = "exact",
) -> MembershipCoverage:
    """Compute MIACR from membership probabilities of the forget samples (N,), in 0..1; match the retrained models.

    `calibration_probabilities` (n,) come from members that the attack was not fitted on (or, as released, from held-out
    non-members). `singleton` is the fraction of sets equal to {non-member}; `member_excluded`, as released, also counts
    empty sets and is larger where q < 0.5. Reference: v1 of Shi et al. 2025, arXiv 2501.19403.
    """
    target = _probabilities(target_probabilities, "target probabilities")
    q = quantile(1 - _probabilities(calibration_probabilities, "calibration probabilities"), alpha, rule)
    has_member, has_other = 1 - target <= q, target <= q
    hits = {"singleton": has_other & ~has_member, "member_excluded": ~has_member}
    if variant not in hits:
        raise ValueError(f"unknown variant {variant!r} (allowed: {', '.join(hits)})")
    called_other = target <= 0.5
    return MembershipCoverage(
        ratio=clopper_pearson(int(hits[variant].sum()), len(target)),
        threshold=q,
        set_size=float(has_member.mean() + has_other.mean()),
        member_fraction=float(1 - called_other.mean()),
        efficacy=float(called_other.mean()),
        fake_fraction=float(has_member[called_other].mean()) if called_other.any() else None,
    )


def membership_probabilities(
    member_confidences: Array, non_member_confidences: Array, confidences: Array, *, C: float = 3.0, levels: int = 128
) -> Floats:
    """Return P(member) (N,) of true-label probabilities, from an attack fitted on known members and non-members.

    A support vector machine (RBF, gamma 1) with Platt's sigmoid, as in released code, on confidences rounded to
    `levels` steps: m copies of a point equal one point of weight m, so the cost does not grow with n. Probabilities
    differ by less than 0.01 from the unrounded classifier, whose own cross-validation is random; this one is
    deterministic. Reference: Platt 1999 with the targets of Lin, Lin and Weng 2007.
    """
    sides = [_probabilities(non_member_confidences, "non-member confidences")]
    sides.append(_probabilities(member_confidences, "member confidences"))
    low, high = min(map(np.min, sides)), max(map(np.max, sides))
    if low == high:
        raise ValueError(f"all confidences are {low}, so members and non-members are inseparable")
    steps = np.linspace(low, high, levels)
    counts = np.stack(
        [np.bincount(np.rint((side - low) / (steps[1] - low)).astype(int), minlength=levels) for side in sides]
    )
    side, step = np.nonzero(counts)
    from sklearn.svm import SVC  # takes a second to import, which workers that only predict need not wait for

    machine = SVC(C=C, kernel="rbf", gamma=1.0).fit(steps[step, None], side, sample_weight=counts[side, step])
    slope, offset = _platt(machine.decision_function(steps[:, None]), counts)
    queries = _probabilities(confidences, "confidences")
    p: Floats = expit(slope * machine.decision_function(queries[:, None]) + offset)
    return p


def _platt(decisions: Floats, counts: Ints) -> tuple[float, float]:
    """Return slope and offset of P = expit(slope * decision + offset) by Newton's method; `counts` is (2, levels)."""
    others, members = counts.sum(axis=1)
    weight = counts.sum(axis=0)
    target = counts[0] / (others + 2) + counts[1] * (members + 1) / (members + 2)
    basis = np.stack([decisions, np.ones_like(decisions)])
    fit = np.array([0.0, np.log((members + 1) / (others + 1))])
    for _ in range(100):
        p = expit(fit @ basis)
        slope = basis @ (target - weight * p)
        if np.abs(slope).max() < 1e-8 * weight.sum():
            break
        fit = fit + np.linalg.solve((basis * (weight * p * (1 - p))) @ basis.T + 1e-10 * np.eye(2), slope)
    return float(fit[0]), float(fit[1])


def _probabilities(values: Array, name: str) -> Floats:
    p = as_array(values, name=name, finite=True)
    if p.ndim != 1 or not len(p):
        raise ValueError(f"{name} must be a non-empty array (N,), got shape {p.shape}")
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"{name} must lie in 0..1, got {p.min()}..{p.max()}")
    return p
