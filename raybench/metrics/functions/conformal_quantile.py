"""Calibration: from scores of held-out true labels to the conformal threshold of each class.

The exact threshold is the k-th smallest of n scores, k = ceil((n + 1)(1 - alpha)). The "higher" quantile of numpy at
level k / n, used by released code, is the (k + 1)-th for every k < n, so its sets are slightly too large (by 1 / (n +
1) in coverage).

With n exchangeable calibration samples, coverage is distributed as Beta(k, n + 1 - k) (Vovk 2012).
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, Ints, as_array

Rule = Literal["exact", "numpy_higher"]
Calibration = Literal["marginal", "mondrian", "retain_only", "forget_only"]


def rank(n: int, alpha: float) -> int:
    """Compute k = ceil((n + 1)(1 - alpha)) on the decimal value of alpha as written.

    In floats, 10 * (1 - 0.7) would be above 3.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    return math.ceil((n + 1) * (1 - Fraction(repr(float(alpha)))))


def smallest_calibration(alpha: float) -> int:
    """Return the fewest calibration samples that give a finite threshold: 19 for alpha 0.05, 9 for 0.1."""
    rank(1, alpha)
    return math.ceil(1 / Fraction(repr(float(alpha)))) - 1


def quantile(scores: Array, alpha: float, rule: Rule = "exact") -> float:
    """Return the threshold of the calibration `scores` (n,), in any order; +inf where n is too small for `alpha`.

    `exact` is the k-th smallest score; `numpy_higher` is the quantile of numpy at level k / n as released code calls
    it. An infinite threshold makes every set full, which is the valid answer; numpy itself raises there.
    """
    values = np.sort(as_array(scores, name="calibration scores").ravel())
    return _of_sorted(values, alpha, rule)


def marginal(
    scores: Array, labels: Array, alphas: float | Sequence[float], *, num_classes: int, rule: Rule = "exact"
) -> Floats:
    """Return one threshold for all classes, as (alphas, num_classes), from the scores of true labels (n,)."""
    values, _ = _checked(scores, labels)
    return _spread(values, num_classes, alphas, rule)


def mondrian(
    scores: Array, labels: Array, alphas: float | Sequence[float], *, num_classes: int, rule: Rule = "exact"
) -> Floats:
    """Return a threshold for each class, (alphas, num_classes), from its own samples; +inf where they are too few.

    Reference: Vovk, Lindsay, Nouretdinov and Gammerman 2003 (class-conditional coverage).
    """
    values, targets = _checked(scores, labels)
    columns = [_spread(values[targets == c], 1, alphas, rule) for c in range(num_classes)]
    return np.concatenate(columns, axis=1)


def retain_only(
    scores: Array,
    labels: Array,
    alphas: float | Sequence[float],
    *,
    num_classes: int,
    forget_classes: Sequence[int],
    rule: Rule = "exact",
) -> Floats:
    """Return the threshold of the retained classes for all classes: the informative one for class forgetting.

    `forget_only` calibrates on the forgotten class itself, as released code does; its coverage is then 1 - alpha by
    construction, whatever was unlearned.
    """
    values, targets = _checked(scores, labels)
    kept = ~np.isin(targets, _checked_classes(forget_classes))
    return _spread(values[kept], num_classes, alphas, rule)


def forget_only(
    scores: Array,
    labels: Array,
    alphas: float | Sequence[float],
    *,
    num_classes: int,
    forget_classes: Sequence[int],
    rule: Rule = "exact",
) -> Floats:
    """Return the threshold of the forgotten classes for all classes, as released code does."""
    values, targets = _checked(scores, labels)
    kept = np.isin(targets, _checked_classes(forget_classes))
    return _spread(values[kept], num_classes, alphas, rule)


def thresholds(
    scores: Array,
    labels: Array,
    alphas: float | Sequence[float],
    *,
    num_classes: int,
    calibration: Calibration = "marginal",
    forget_classes: Sequence[int] = (),
    rule: Rule = "exact",
) -> Floats:
    """Return thresholds (alphas, num_classes) of the named calibration."""
    by_class = {"marginal": marginal, "mondrian": mondrian}
    by_role = {"retain_only": retain_only, "forget_only": forget_only}
    if calibration in by_class:
        return by_class[calibration](scores, labels, alphas, num_classes=num_classes, rule=rule)
    if calibration in by_role:
        return by_role[calibration](
            scores, labels, alphas, num_classes=num_classes, forget_classes=forget_classes, rule=rule
        )
    raise ValueError(f"unknown calibration {calibration!r} (allowed: {', '.join([*by_class, *by_role])})")


def _of_sorted(values: Floats, alpha: float, rule: Rule) -> float:
    n = len(values)
    k = rank(n, alpha)
    if rule not in ("exact", "numpy_higher"):
        raise ValueError(f"unknown quantile rule {rule!r} (allowed: exact, numpy_higher)")
    if k > n:
        return math.inf
    if rule == "exact":
        return float(values[k - 1])
    return float(np.quantile(values, k / n, method="higher"))


def _spread(values: Floats, num_classes: int, alphas: float | Sequence[float], rule: Rule) -> Floats:
    ordered = np.sort(values)
    column = np.array([_of_sorted(ordered, float(alpha), rule) for alpha in np.atleast_1d(alphas)])
    return np.repeat(column[:, None], num_classes, axis=1)


def _checked(scores: Array, labels: Array) -> tuple[Floats, Ints]:
    values = as_array(scores, name="calibration scores")
    targets = as_array(labels, name="calibration labels", dtype=np.int64)
    if values.ndim != 1 or values.shape != targets.shape:
        raise ValueError(f"calibration needs scores and labels (n,), got {values.shape} and {targets.shape}")
    if np.isnan(values).any():
        raise ValueError("calibration scores contain NaN")
    return values, targets


def _checked_classes(forget_classes: Sequence[int]) -> Ints:
    classes = np.atleast_1d(np.asarray(forget_classes, dtype=np.int64))
    if not len(classes):
        raise ValueError("calibration by role needs `forget_classes`, the classes that were forgotten")
    return classes
