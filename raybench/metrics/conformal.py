"""Conformal prediction sets on stored logits: coverage, set size, their ratio CR, and fake forgetting.

C(x) = {y : S(x, y) <= q} (Shi et al. 2025, arXiv 2501.19403, Eqs. 1-6). An ideal unlearner covers 1 - alpha of the
forget set, as of unseen data: more is memory, less is over-forgetting. "Lower CR is better" would punish retraining
itself, so every number here is one to match. CR falls as well when sets merely grow: read it beside the one on test.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.conformal_hinge import hinge
from raybench.metrics.functions.conformal_membership import (
    MembershipCoverage,
    membership_coverage_ratio,
    membership_probabilities,
)
from raybench.metrics.functions.conformal_quantile import (
    Calibration,
    CoverageInterval,
    Rule,
    coverage_interval,
    forget_only,
    marginal,
    mondrian,
    quantile,
    retain_only,
    smallest_calibration,
    thresholds,
)
from raybench.metrics.functions.conformal_scores import ScoreName, aps, lac, margin, raps
from raybench.metrics.functions.conformal_sets import prediction_sets, set_members, single_label
from raybench.metrics.functions.intervals import clopper_pearson, mean_interval

__all__ = [
    "CoverageInterval",
    "CoverageRatio",
    "MembershipCoverage",
    "aps",
    "coverage",
    "coverage_interval",
    "coverage_ratio",
    "cr",
    "fake_forgetting",
    "forget_only",
    "hinge",
    "lac",
    "margin",
    "marginal",
    "membership_coverage_ratio",
    "membership_probabilities",
    "mondrian",
    "quantile",
    "raps",
    "retain_only",
    "set_members",
    "smallest_calibration",
    "thresholds",
]

_SOURCE = "Shi et al. 2025, arXiv 2501.19403, Eqs. 4-6"
_SPLITS = ("retain", "forget", "test", "unseen")
_COST = "(samples + calibration samples) * classes exponentials for each alpha"


class CoverageRatio(NamedTuple):
    """One entry for each alpha: the share of samples covered, mean set size, and their ratio."""

    alphas: np.ndarray
    thresholds: np.ndarray  # (alphas, C), on the scale of the score
    coverage: np.ndarray  # in 0..1
    set_size: np.ndarray  # in 0..C
    ratio: np.ndarray  # in 0..1, 1 / C for full sets; NaN exactly where `all_empty`
    all_empty: np.ndarray  # True where no set holds any class, so that the ratio is 0 / 0


@metric(
    source=_SOURCE,
    direction="match",
    low=0,
    splits=_SPLITS,
    cost=_COST,
    caution=(
        "Calibration alone moves it: at alpha 0.05 coverage of unseen data has an sd of 0.034 with 39 calibration "
        "samples, 0.015 with 200, 0.005 with 2,000. Sets of all classes cover everything."
    ),
    released=(
        "`rule: numpy_higher` covers 1 / (n + 1) more: 0.975 instead of 0.95 with 39 calibration samples, 0.9505 with "
        "2,000. `calibration: forget_only` where a class is forgotten: digits without 3s, alpha 0.05, retrained models "
        "cover 0.95 of them and originals 1.00; `retain_only` says 0.00 and 1.00."
    ),
)
def coverage(
    logits: Array,
    labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    alpha: float,
    *,
    score: ScoreName = "lac",
    rule: Rule = "exact",
    calibration: Calibration = "marginal",
    forget_classes: Sequence[int] = (),
) -> dict[str, Estimate]:
    """Return the share of samples whose label is in its prediction set, in 0..1; `_set_size` is the mean size, 0..C.

    Raise ValueError for labels (N, L), empty sets of samples, or fewer calibration samples than `alpha` needs.
    Intervals hold the threshold fixed: Clopper-Pearson, and Student's t for the size.
    """
    settings: dict[str, Any] = {
        "score": score,
        "rule": rule,
        "calibration": calibration,
        "forget_classes": forget_classes,
    }
    inside, size = _for_one_alpha(logits, labels, calibration_logits, calibration_labels, alpha, **settings)
    return {"": clopper_pearson(int(inside.sum()), len(inside)), "_set_size": mean_interval(size)}


@metric(
    source=_SOURCE,
    direction="match",
    low=0,
    high=1,
    splits=_SPLITS,
    cost=_COST,
    caution="A model of 10 classes that knows nothing gets 0.10 on forget: low is no forgetting if test is as low.",
    released=(
        "`rule: numpy_higher`: 0.211 instead of 0.279 with 39 calibration samples, 0.289 instead of 0.290 with 2,000 "
        "(10 classes, 67 % right, alpha 0.05, mean of 60 draws). Empty sets throughout give NaN. `forget_only`, digits "
        "without 3s: 0.10 for retrained models and 1.00 for originals; `retain_only` 0.00 and 1.00."
    ),
)
def cr(
    logits: Array,
    labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    alpha: float,
    *,
    score: ScoreName = "lac",
    rule: Rule = "exact",
    calibration: Calibration = "marginal",
    forget_classes: Sequence[int] = (),
) -> Estimate:
    """Return CR, coverage over mean set size, in 0..1: true labels included over all labels included.

    A ratio of means (1 / C for full sets, 1 when each non-empty set is the label alone), not a mean of ratios. Raise
    ValueError as `coverage` does, and where every set is empty. Interval: delta method; where that sees no spread,
    Clopper-Pearson of the coverage over the set size.
    """
    settings: dict[str, Any] = {
        "score": score,
        "rule": rule,
        "calibration": calibration,
        "forget_classes": forget_classes,
    }
    inside, size = _for_one_alpha(logits, labels, calibration_logits, calibration_labels, alpha, **settings)
    n, mean_size = len(inside), float(size.mean())
    if mean_size == 0:
        raise ValueError(f"every prediction set at alpha {alpha} is empty, so coverage over set size is 0 / 0")
    ratio = float(inside.mean()) / mean_size
    residuals = inside - ratio * size
    spread = float(residuals @ residuals)
    if n < 2 or spread <= 1e-18 * n:
        bounds = clopper_pearson(int(inside.sum()), n)
        high = min(1.0, bounds.high / mean_size)
        return Estimate(ratio, min(ratio, bounds.low / mean_size), high, n, "clopper-pearson / set size")
    half = float(stdtrit(n - 1, 0.975)) * np.sqrt(spread / (n * (n - 1))) / mean_size
    return Estimate(ratio, max(0.0, ratio - half), min(1.0, ratio + half), n, "delta")


@metric(
    source="Table 2 of Shi et al. 2025, arXiv 2501.19403",
    direction="match",
    low=0,
    high=1,
    cost="as `coverage`, of forget; one accuracy on test",
    caution=(
        "Mistakes are few: 7 of 7 has the interval 0.59 to 1. Where all right answers are covered it is 1 - (1 - "
        "coverage) / UA, and so says nothing that `coverage` and `unlearning_accuracy` do not."
    ),
)
def fake_forgetting(
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
) -> dict[str, Estimate]:
    """Return the share of misclassified forget samples whose label is still in their prediction set, and its `_null`.

    `_null` is what a perfect unlearner gets, max(0, 1 - alpha / test error): it is far from 0 (0.39 at a test error of
    0.082 and alpha 0.05), so the ratio means nothing without it. Raise ValueError where no forget sample is
    misclassified. Intervals: Clopper-Pearson of the ratio, and of the test error carried through.
    """
    inside, _ = _for_one_alpha(
        forget_logits, forget_labels, calibration_logits, calibration_labels, alpha, score=score, rule=rule
    )
    wrong = _misclassified(forget_logits, forget_labels)
    if not wrong.any():
        raise ValueError("no forget sample is misclassified, so the share of fake forgetting among them is 0 / 0")
    missed = _misclassified(test_logits, test_labels)
    error = clopper_pearson(int(missed.sum()), len(missed))
    value, low, high = (max(0.0, 1 - alpha / e) if e > 0 else 0.0 for e in error[:3])
    return {
        "": clopper_pearson(int((inside & wrong).sum()), int(wrong.sum())),
        "_null": Estimate(value, low, high, error.n, "clopper-pearson of the test error"),
    }


def coverage_ratio(
    logits: Array,
    labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    *,
    alphas: float | Sequence[float] = (0.05, 0.1, 0.15, 0.2),
    score: ScoreName = "lac",
    rule: Rule = "exact",
    calibration: Calibration = "marginal",
    forget_classes: Sequence[int] = (),
) -> CoverageRatio:
    """Return coverage, set size and CR of logits (N, C) at every alpha, from one softmax over each array.

    A threshold without enough calibration samples is +inf and its sets are full. Raise ValueError for labels (N, L).
    """
    settings: dict[str, Any] = {
        "score": score,
        "rule": rule,
        "calibration": calibration,
        "forget_classes": forget_classes,
    }
    cut, inside, sizes = prediction_sets(logits, labels, calibration_logits, calibration_labels, alphas, **settings)
    share, size = inside.mean(axis=1), sizes.mean(axis=1)
    empty = size == 0
    ratio = np.divide(share, size, out=np.full(len(size), np.nan), where=~empty)
    return CoverageRatio(np.atleast_1d(np.asarray(alphas, dtype=float)), cut, share, size, ratio, empty)


def _for_one_alpha(
    logits: Array, labels: Array, calibration_logits: Array, calibration_labels: Array, alpha: float, **settings: Any
) -> tuple[np.ndarray, np.ndarray]:
    cut, inside, sizes = prediction_sets(logits, labels, calibration_logits, calibration_labels, alpha, **settings)
    if np.isinf(cut).all():
        raise ValueError(f"alpha {alpha} needs {smallest_calibration(alpha)} calibration samples or more")
    return inside[0], sizes[0]


def _misclassified(logits: Array, labels: Array) -> np.ndarray:
    values, targets = single_label(logits, labels)
    return values.argmax(axis=1) != targets
