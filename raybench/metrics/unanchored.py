"""What can be measured without a retrained model: forget samples against test samples, on the same model.

A model that never saw the forget samples treats them as it treats any others, so both differences are 0 in expectation,
where forget and test samples come from one law. They are not of one law when a class, a person or wrong labels are
forgotten: then the retrained models' own value is the target, and these alone decide nothing.
"""

import math

from raybench.metrics.accuracy import accuracy
from raybench.metrics.conformal import coverage
from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.conformal_quantile import Rule
from raybench.metrics.functions.conformal_scores import ScoreName


@metric(
    source="none: TFA - TA, ours",
    direction="match",
    low=-1,
    high=1,
    ideal=0,
    cost="(forget + test samples) * classes comparisons",
    caution=(
        "Denial passes for forgetting: with the first two logits of about 18 of the 120 forget samples swapped, the "
        "digits' originals go from 0.152 to 0.001, and `mia_auc` still is 0.60."
    ),
)
def accuracy_gap(forget_logits: Array, forget_labels: Array, test_logits: Array, test_labels: Array) -> Estimate:
    """Return accuracy on forget minus accuracy on test, in -1..1; above 0, forgotten samples are still known."""
    return difference(accuracy(forget_logits, forget_labels), accuracy(test_logits, test_labels))


@metric(
    source="none: ours, on the coverage of Shi et al. 2025, arXiv 2501.19403",
    direction="match",
    low=-1,
    high=1,
    ideal=0,
    cost="twice `coverage`",
    caution=(
        "A small alpha leaves no room: at 0.05 the digits' originals get 0.036 (interval of the first: 0.002 to "
        "0.061), at 0.2 they get 0.193. Swapping the first two logits of about 18 of 120 forget samples takes that to "
        "0.042."
    ),
)
def memory_gap(
    forget_logits: Array,
    forget_labels: Array,
    test_logits: Array,
    test_labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    alpha: float,
    *,
    score: ScoreName = "lac",
    rule: Rule = "exact",
) -> Estimate:
    """Return conformal coverage on forget minus that on test, in -1..1; a memorized forget set gives about alpha.

    Above 0, forgotten samples are covered more often than unseen ones. Raise ValueError as `coverage` does.
    """
    held_out = (calibration_logits, calibration_labels, alpha)
    forget = coverage(forget_logits, forget_labels, *held_out, score=score, rule=rule)
    return difference(forget[""], coverage(test_logits, test_labels, *held_out, score=score, rule=rule)[""])


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Return first - second of two independent shares, n summed; interval from theirs (Newcombe 1998, method 10)."""
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, max(-1.0, value - below), min(1.0, value + above), first.n + second.n, "mover")
