"""MIACR: the conformal ratio of a membership inference attack, from sets of the labels member and non-member."""

from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, take
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.conformal_quantile import Rule, smallest_calibration
from raybench.metrics.functions.folds import shuffled_rows
from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.functions.miacr import membership_coverage_ratio, membership_probabilities
from raybench.metrics.functions.signals import confidence


@metric(
    source="MIACR, v1 of Shi et al. 2025, arXiv 2501.19403",
    direction="match",
    low=0,
    high=2,
    cost="one support vector machine of at most 256 points for each alpha",
    caution=(
        "Secondary: where the attack is weak, nearly all sets contain both labels and the ratio of every model is near "
        "0. Read it next to `_set_size`: 2 decides nothing; below 1, sets are empty."
    ),
    released=(
        "Later code calibrates on held-out images labeled member (`calibration: holdout`). The sets of a model that "
        "has forgotten then lack `member` at rate alpha at most, by construction, and those of others less often: "
        "where the true logit of members is raised by 6 and that of others by 3 (4,000 retain, 2,000 test and "
        "hold-out, 1,000 forget samples, all forgotten), MIACR is 0.04 (set size 1.96) instead of 0.88 (1.04). "
        "`variant: member_excluded` counts empty sets too, which occur for thresholds below 0.5; `rule: numpy_higher` "
        "takes the next larger score."
    ),
)
def miacr(
    forget_logits: Array,
    forget_labels: Array,
    retain_logits: Array,
    retain_labels: Array,
    test_logits: Array,
    test_labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    alpha: float,
    *,
    calibration: Literal["members", "holdout"] = "members",
    variant: Literal["singleton", "member_excluded"] = "singleton",
    rule: Rule = "exact",
    C: float = 3.0,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Measure how many forget samples an attack rules out as members: higher means that more samples look unseen.

    Match the retrained models. MIACR (conformal ratio of a membership inference attack) is the fraction of forget
    samples whose conformal set over {non-member, member} is {non-member}, in 0..1. `_set_size` is the mean size of the
    sets, in 0..2; `_efficacy` the fraction with P(member) <= 0.5; `_fake_fraction` the fraction of those that still
    have `member` in their set (absent where there are none).

    The attack is fitted as in `mia_svc`, on the confidence of retain and test samples, but on at most half of the
    retain samples; the other half calibrates the sets, so that they miss a member at rate alpha. Intervals treat
    attack and threshold as fixed: Clopper-Pearson. Raise ValueError for fewer calibration samples than alpha needs,
    and where all confidences are equal.
    """
    if calibration not in ("members", "holdout"):
        raise ValueError(f"unknown calibration {calibration!r} (allowed: members, holdout)")
    order = shuffled_rows(len(retain_logits), seed)
    if calibration == "members" and len(order) < 2:
        raise ValueError(f"calibration on members needs 2 retain samples or more, got {len(order)}")
    size = min(len(test_logits), len(order) // 2 if calibration == "members" else len(order))
    fitted, remaining = np.sort(order[:size]), np.sort(order[size:])
    calibration_set = (calibration_logits, calibration_labels)
    if calibration == "members":
        calibration_set = (take(retain_logits, remaining), take(retain_labels, remaining))
    queries = [confidence(forget_logits, forget_labels), confidence(*calibration_set)]
    if len(queries[1]) < smallest_calibration(alpha):
        raise ValueError(f"alpha {alpha} needs {smallest_calibration(alpha)} calibration samples or more")
    member = confidence(take(retain_logits, fitted), take(retain_labels, fitted))
    p = membership_probabilities(member, confidence(test_logits, test_labels), np.concatenate(queries), C=C)
    n = len(queries[0])
    result = membership_coverage_ratio(p[:n], p[n:], alpha=alpha, variant=variant, rule=rule)
    called = round(n * result.efficacy)
    smallest = 0 if result.threshold < 0.5 else 1  # every set has this size or one more
    larger = clopper_pearson(round(n * (result.set_size - smallest)), n)
    set_size = Estimate(smallest + larger.value, smallest + larger.low, smallest + larger.high, n, larger.interval)
    estimates = {"": result.ratio, "_set_size": set_size, "_efficacy": clopper_pearson(called, n)}
    if result.fake_fraction is not None:
        estimates["_fake_fraction"] = clopper_pearson(round(called * result.fake_fraction), called)
    return estimates
