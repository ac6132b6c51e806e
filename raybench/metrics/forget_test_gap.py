"""Forget minus test on the same model: what can be measured without any retrained model.

A model that never saw the forget samples treats them like any others, so both differences have expectation 0 where
forget and test samples are drawn from the same distribution. They are not where a class, a person or wrong labels are
forgotten; then only the value of the retrained models is a target.
"""

from typing import Any

from raybench.metrics.accuracy import accuracy
from raybench.metrics.conformal import coverage
from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.conformal_quantile import Rule
from raybench.metrics.functions.conformal_scores import ScoreName
from raybench.metrics.functions.intervals import difference


@metric(
    source="none: difference of the accuracies on forget and test, defined by raybench",
    direction="match",
    low=-1,
    high=1,
    ideal=0,
    cost="(forget + test samples) * classes comparisons",
    caution=(
        "Suppressing predictions looks like forgetting: with the two largest logits of about 18 of the 120 forget "
        "samples swapped, the digits' originals go from 0.152 to 0.001, and `mia_auc` is still 0.60."
    ),
)
def accuracy_gap(forget_logits: Array, forget_labels: Array, test_logits: Array, test_labels: Array) -> Estimate:
    """Measure whether the model knows forget samples better than new ones: above 0 means memory, below 0 damage.

    Accuracy on forget minus accuracy on test, in -1..1. Interval: Newcombe's method for two independent proportions.
    """
    return difference(accuracy(forget_logits, forget_labels), accuracy(test_logits, test_labels))


@metric(
    source="none: defined by raybench on the coverage of Shi et al. 2025, arXiv 2501.19403",
    direction="match",
    low=-1,
    high=1,
    ideal=0,
    cost="twice `coverage`",
    caution=(
        "A small alpha leaves little range: at 0.05 the digits' originals get 0.036 (interval of the first: 0.002 to "
        "0.061), at 0.2 they get 0.193. Swapping the two largest logits of about 18 of 120 forget samples lowers that "
        "to 0.042."
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
    penalty: float = 0.01,
    free_ranks: int = 5,
    randomized: bool = False,
    seed: int = 0,
) -> Estimate:
    """Measure whether prediction sets cover forget samples more often than new ones: above 0 means memory.

    A fully memorized forget set gives about alpha, its largest expected value. Conformal `coverage` on forget minus
    coverage on test, in -1..1. Settings as in `coverage`; raise ValueError as it does.
    """
    settings: dict[str, Any] = {"score": score, "rule": rule, "penalty": penalty, "free_ranks": free_ranks}
    settings |= {"randomized": randomized, "seed": seed}
    held_out = (calibration_logits, calibration_labels, alpha)
    forget = coverage(forget_logits, forget_labels, *held_out, **settings)
    return difference(forget[""], coverage(test_logits, test_labels, *held_out, **settings)[""])
