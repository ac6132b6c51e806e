"""Conformal metrics for class-wise forgetting as the released code computes them: a threshold for each kind of class.

The forgotten classes get a threshold calibrated on themselves, the retained classes one calibrated on the retained
classes. The former makes coverage 1 - alpha by construction, whether a model forgot nothing or everything. The parts
`_by_retained` apply the threshold of the retained classes to the forget set, which does separate such models.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from raybench.metrics.conformal import coverage, cr
from raybench.metrics.framework.arrays import Array, take
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.classes import forgotten_classes
from raybench.metrics.functions.conformal_quantile import Rule
from raybench.metrics.functions.conformal_scores import ScoreName

_RELEASED: dict[str, Any] = {
    "source": "Shi et al. 2025, arXiv 2501.19403, class-wise protocol of its code",
    "direction": "match",
    "low": 0,
    "protocol": "released",
    "cost": "four times `cr`",
    "caution": (
        "Except for the parts that end in `_by_retained`, the conformal guarantee fixes them whatever was unlearned. A "
        "single class leaves few calibration samples, so thresholds are coarse."
    ),
    "released": (
        "This is the protocol as released. For a model that never learned the forgotten class (the true logit of the "
        "other classes raised by 4; 10 classes with 200 calibration samples each, 500 forget samples) coverage at "
        "alpha 0.1 is 0.91 with the threshold of the forgotten class, with sets of 9 classes, and 0.01 with that of "
        "the others."
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
    """Measure `coverage` separately for forgotten and retained classes; read `_forget_by_retained` for memory.

    Coverage, in 0..1, of forget samples (`_forget`) and of test samples of forgotten and of retained classes
    (`_test_forgotten`, `_test_retained`), each with the threshold of its own kind of class; `_forget_by_retained` uses
    the threshold of the retained classes. Each part has its mean `_set_size`, in 0..C.

    Raise ValueError where no whole class is forgotten, for labels (N, L), and where a kind of class has fewer
    calibration samples than alpha needs.
    """
    parts = _by_part(
        coverage,
        (forget_logits, forget_labels, retain_labels),
        (test_logits, test_labels),
        (calibration_logits, calibration_labels, alpha),
        score=score,
        rule=rule,
    )
    return {f"_{part}{suffix}": value for part, values in parts.items() for suffix, value in values.items()}


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
    """Measure `cr` separately for forgotten and retained classes; read `_forget_by_retained` for memory.

    The conformal ratio (CR), coverage over mean set size, in 0..1, of the parts of `class_wise_coverage`.

    Raise ValueError as `class_wise_coverage` does, and where every set of a part is empty.
    """
    parts = _by_part(
        cr,
        (forget_logits, forget_labels, retain_labels),
        (test_logits, test_labels),
        (calibration_logits, calibration_labels, alpha),
        score=score,
        rule=rule,
    )
    return {f"_{part}": value for part, value in parts.items()}


def _by_part(
    compute: Callable[..., Any],
    forget: tuple[Array, Array, Array],
    test: tuple[Array, Array],
    held_out: tuple[Array, Array, float],
    **settings: Any,
) -> dict[str, Any]:
    """Return a conformal metric of each part; `forget` is logits, labels, and the labels of retain."""
    logits, labels, retain_labels = forget
    forgotten = forgotten_classes(labels, retain_labels)
    if not len(forgotten):
        raise ValueError("no whole class is forgotten, so there are no class-wise parts")
    is_forgotten = np.isin(np.asarray(test[1]), forgotten)
    parts = {
        "forget": (logits, labels, "forget_only"),
        "forget_by_retained": (logits, labels, "retain_only"),
        "test_forgotten": (*(take(array, is_forgotten) for array in test), "forget_only"),
        "test_retained": (*(take(array, ~is_forgotten) for array in test), "retain_only"),
    }
    classes = tuple(int(c) for c in forgotten)
    return {
        name: compute(logits, labels, *held_out, calibration=calibration, forget_classes=classes, **settings)
        for name, (logits, labels, calibration) in parts.items()
    }
