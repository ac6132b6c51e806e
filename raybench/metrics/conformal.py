"""Conformal prediction sets from stored logits: coverage, set size, their ratio (CR), and fake forgetting.

C(x) = {y : S(x, y) <= q} (Shi et al. 2025, arXiv 2501.19403, Eqs. 1-6). An ideal unlearner covers 1 - alpha of the
forget set, as of unseen data: more means memory, less means over-forgetting. "Lower CR is better" would penalize
retraining itself, so every metric here is one to match. CR also falls when sets merely grow: read it next to CR on
test.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from raybench.metrics.framework.arrays import Array, Bools, Ints, as_array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.accuracy import predicted_class
from raybench.metrics.functions.conformal_quantile import Calibration, Rule, smallest_calibration
from raybench.metrics.functions.conformal_scores import Score, ScoreName
from raybench.metrics.functions.conformal_sets import prediction_sets
from raybench.metrics.functions.intervals import clopper_pearson, mean_interval

_SOURCE = "Shi et al. 2025, arXiv 2501.19403, Eqs. 4-6"
_SPLITS = ("retain", "forget", "test", "unseen")
_COST = "(samples + calibration samples) * classes exponentials for each alpha"


@metric(
    source=_SOURCE,
    direction="match",
    low=0,
    splits=_SPLITS,
    cost=_COST,
    caution=(
        "Calibration alone moves it: at alpha 0.05, coverage of unseen data has a standard deviation of 0.034 with 39 "
        "calibration samples, 0.015 with 200, 0.005 with 2,000. Sets of all classes cover everything."
    ),
    released=(
        "`rule: numpy_higher` covers 1 / (n + 1) more: 0.975 instead of 0.95 with 39 calibration samples, 0.9505 with "
        "2,000. `calibration: forget_only` where a class is forgotten: on digits without 3s, alpha 0.05, retrained "
        "models cover 0.95 of them and originals 1.00; `retain_only` gives 0.00 and 1.00."
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
    penalty: float = 0.01,
    free_ranks: int = 5,
    randomized: bool = False,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Measure how often the true label stays plausible to the model: on forget, above 1 - alpha means memory.

    Below the retrained models means over-forgetting. The fraction of samples whose label is in its conformal
    prediction set, in 0..1; `_set_size` is the mean number of classes in a set, in 0..C.

    `score` is `lac`, `margin`, `aps` or `raps`; `penalty` and `free_ranks` are those of `raps`. `randomized` draws one
    number per sample from `seed` for `aps` and `raps`, which makes sets smaller and coverage exact.

    Intervals treat the threshold as fixed: Clopper-Pearson, and Student's t for the size. They do not cover the value
    at another calibration set: with 100 calibration and 500 test samples they hold 1 - alpha in 59 % of draws. Raise
    ValueError for labels (N, L), empty sets of samples, or fewer calibration samples than `alpha` needs.
    """
    scored = Score(score, penalty, free_ranks, randomized, seed)
    covered, size = _sets(
        *(logits, labels, calibration_logits, calibration_labels, alpha, scored, rule, calibration, forget_classes)
    )
    return {"": clopper_pearson(int(covered.sum()), len(covered)), "_set_size": mean_interval(size)}


@metric(
    source=_SOURCE,
    direction="match",
    low=0,
    high=1,
    splits=_SPLITS,
    cost=_COST,
    caution=(
        "A model of 10 classes that knows nothing gets 0.10 on forget: a low value is no forgetting if test is as low."
    ),
    released=(
        "`rule: numpy_higher`: 0.211 instead of 0.279 with 39 calibration samples, 0.289 instead of 0.290 with 2,000 "
        "(10 classes, 67 % accuracy, alpha 0.05, mean of 60 draws). All sets empty gives NaN. `forget_only`, digits "
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
    penalty: float = 0.01,
    free_ranks: int = 5,
    randomized: bool = False,
    seed: int = 0,
) -> Estimate:
    """Measure how certain correct predictions are: 1 means sets of the true label only, 1 / C sets of all classes.

    Match the retrained models; on forget, higher means memory. The conformal ratio (CR) is coverage over mean set size,
    in 0..1: true labels included over all labels included. It is a ratio of means, not a mean of ratios. Settings as
    in `coverage`.

    Interval: delta method; where it sees no spread, Clopper-Pearson of the coverage over the set size. Raise
    ValueError as `coverage` does, and where every set is empty.
    """
    scored = Score(score, penalty, free_ranks, randomized, seed)
    covered, size = _sets(
        *(logits, labels, calibration_logits, calibration_labels, alpha, scored, rule, calibration, forget_classes)
    )
    n, mean_size = len(covered), float(size.mean())
    if mean_size == 0:
        raise ValueError(f"every prediction set at alpha {alpha} is empty, so coverage over set size is 0 / 0")
    ratio = float(covered.mean()) / mean_size
    residuals = covered - ratio * size
    spread = float(residuals @ residuals)
    if n < 2 or spread <= 1e-18 * n:
        bounds = clopper_pearson(int(covered.sum()), n)
        high = min(1.0, bounds.high / mean_size)
        return Estimate(ratio, min(ratio, bounds.low / mean_size), high, n, "clopper-pearson / set size")
    half_width = float(stdtrit(n - 1, 0.975)) * np.sqrt(spread / (n * (n - 1))) / mean_size
    return Estimate(ratio, max(0.0, ratio - half_width), min(1.0, ratio + half_width), n, "delta")


@metric(
    source="Table 2 of Shi et al. 2025, arXiv 2501.19403",
    direction="match",
    low=0,
    high=1,
    cost="as `coverage`, of forget; one accuracy on test",
    caution=(
        "Errors are few: 7 of 7 has the interval 0.59 to 1. Where all correct predictions are covered it equals 1 - (1 "
        "- coverage) / UA (unlearning accuracy), so it adds nothing to `coverage` and `unlearning_accuracy`."
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
    penalty: float = 0.01,
    free_ranks: int = 5,
    randomized: bool = False,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Measure how many forget errors are shallow, with the true label still plausible: above `_null` means memory.

    The fraction of misclassified forget samples whose label is still in their prediction set, in 0..1. `_null` is the
    value of a perfect unlearner, max(0, 1 - alpha / test error). It is far from 0 (0.39 at a test error of 0.082 and
    alpha 0.05), so the fraction means nothing without it. Settings as in `coverage`.

    Intervals: Clopper-Pearson of the fraction, and of the test error, mapped to `_null`. Raise ValueError where no
    forget sample is misclassified.
    """
    scored = Score(score, penalty, free_ranks, randomized, seed)
    covered, _ = _sets(forget_logits, forget_labels, calibration_logits, calibration_labels, alpha, scored, rule)
    wrong = _misclassified(forget_logits, forget_labels)
    if not wrong.any():
        raise ValueError("no forget sample is misclassified, so the fraction of fake forgetting among them is 0 / 0")
    wrong_on_test = _misclassified(test_logits, test_labels)
    error = clopper_pearson(int(wrong_on_test.sum()), len(wrong_on_test))
    value, low, high = (max(0.0, 1 - alpha / e) if e > 0 else 0.0 for e in error[:3])
    return {
        "": clopper_pearson(int((covered & wrong).sum()), int(wrong.sum())),
        "_null": Estimate(value, low, high, error.n, "clopper-pearson of the test error"),
    }


def _sets(
    logits: Array,
    labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    alpha: float,
    score: Score,
    rule: Rule,
    calibration: Calibration = "marginal",
    forget_classes: Sequence[int] = (),
) -> tuple[Bools, Ints]:
    """Return whether each sample's set holds its label, and the size of the set, both (N,)."""
    threshold, covered, sizes = prediction_sets(
        *(logits, labels, calibration_logits, calibration_labels, alpha),
        score=score,
        rule=rule,
        calibration=calibration,
        forget_classes=forget_classes,
    )
    if np.isinf(threshold).all():
        raise ValueError(f"alpha {alpha} needs {smallest_calibration(alpha)} calibration samples or more")
    return covered[0], sizes[0]


def _misclassified(logits: Array, labels: Array) -> Bools:
    if np.ndim(labels) != 1:
        raise ValueError("prediction sets need one class per sample, labels (N,); these are multi-label")
    wrong: Bools = predicted_class(logits) != as_array(labels, name="labels", dtype=np.int64)
    return wrong
