"""Conformal numbers of class-wise forgetting, as the source computes them: two thresholds, one for each kind of class.

Forgotten classes are judged by a threshold calibrated on the forgotten classes themselves, retained ones by that of the
retained. The first makes coverage 1 - alpha by construction, for a model that forgot nothing as for one that forgot
all; beside it stands what the retained classes' threshold says of the forget set, which does tell them apart.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from raybench.metrics.agreement import forgotten_classes
from raybench.metrics.conformal import coverage, cr
from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.conformal_quantile import Rule
from raybench.metrics.functions.conformal_scores import ScoreName

_RELEASED: dict[str, Any] = {
    "source": "Shi et al. 2025, arXiv 2501.19403, class-wise protocol of its code",
    "direction": "match",
    "low": 0,
    "protocol": "released",
    "cost": "four times `cr`",
    "caution": (
        "All but the parts that end in `_by_retained` are bound by the conformal guarantee whatever was unlearned; and "
        "a single class leaves few calibration samples, so that thresholds are coarse."
    ),
    "released": (
        "This is the released protocol. For a model that never learned the forgotten class (the own logit of the "
        "others raised by 4; 10 classes with 200 calibration samples each, 500 forget samples) coverage at alpha 0.1 "
        "reads 0.91 by the forgotten class's own threshold, with sets of 9 classes, and 0.01 by that of the others."
    ),
}


@metric(high=float("inf"), **_RELEASED)
def class_wise_coverage(
    forget_logits: Array,
    forget_labels: Array,
    retain_labels: Array,
    test_logits: Array,
    test_labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    alpha: float,
    *,
    score: ScoreName = "lac",
    rule: Rule = "numpy_higher",
) -> dict[str, Estimate]:
    """Return the coverage of forget samples and of test samples of forgotten and of retained classes, in 0..1.

    The parts are `_forget`, `_test_forgotten`, `_test_retained`, and `_forget_by_retained`, which is calibrated on the
    retained classes; each with the mean `_set_size`, in 0..C. Raise ValueError where no whole class is forgotten, for
    labels (N, L), and where a kind of class has fewer calibration samples than alpha needs.
    """
    found = _by_part(
        coverage,
        (forget_logits, forget_labels, retain_labels),
        (test_logits, test_labels),
        (calibration_logits, calibration_labels, alpha),
        score=score,
        rule=rule,
    )
    return {f"_{part}{suffix}": value for part, values in found.items() for suffix, value in values.items()}


@metric(high=1, **_RELEASED)
def class_wise_cr(
    forget_logits: Array,
    forget_labels: Array,
    retain_labels: Array,
    test_logits: Array,
    test_labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    alpha: float,
    *,
    score: ScoreName = "lac",
    rule: Rule = "numpy_higher",
) -> dict[str, Estimate]:
    """Return CR, coverage over mean set size, of the same parts as `class_wise_coverage`, in 0..1.

    Raise ValueError as that does, and where every set of a part is empty.
    """
    found = _by_part(
        cr,
        (forget_logits, forget_labels, retain_labels),
        (test_logits, test_labels),
        (calibration_logits, calibration_labels, alpha),
        score=score,
        rule=rule,
    )
    return {f"_{part}": value for part, value in found.items()}


def _by_part(
    number: Callable[..., Any],
    forget: tuple[Array, Array, Array],
    test: tuple[Array, Array],
    held_out: tuple[Array, Array, float],
    **settings: Any,
) -> dict[str, Any]:
    logits, labels, retained = forget
    gone = forgotten_classes(labels, retained)
    if not len(gone):
        raise ValueError("no whole class is forgotten, so there is nothing to judge class-wise")
    is_gone = np.isin(np.asarray(test[1]), gone)
    parts = {
        "forget": (logits, labels, "forget_only"),
        "forget_by_retained": (logits, labels, "retain_only"),
        "test_forgotten": (*(np.asarray(part)[is_gone] for part in test), "forget_only"),
        "test_retained": (*(np.asarray(part)[~is_gone] for part in test), "retain_only"),
    }
    classes = tuple(int(c) for c in gone)
    return {
        name: number(own, wanted, *held_out, calibration=calibration, forget_classes=classes, **settings)
        for name, (own, wanted, calibration) in parts.items()
    }
