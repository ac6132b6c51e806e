"""Scores made of other scores. Each keeps or names its parts, because a composite hides which part failed.

NoMUS (normalized machine unlearning score) alone rewards collapse: a constant majority model gets about 0.89 on MUCAC
"young", as much as retraining. Show `majority_accuracy` and the gaps of the parts next to it. All inputs are fractions
in 0..1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, Ints, as_array
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.intervals import difference

Variant = Literal["product", "mean"]


@dataclass(frozen=True)
class Agreement:
    """A score in 0..1 (1 = retrained) and the agreements that it is made of, so that it can be recomputed."""

    value: float
    parts: dict[str, float]
    variant: str


def forgetting_score(accuracy: float, *, reference: float = 0.5) -> float:
    """Compute |M - reference| for the accuracy M of a membership attack; lower means better forgotten.

    In 0..0.5 for the reference 0.5, which is right only where forget and unseen samples are drawn from the same
    distribution; otherwise pass the accuracy M of the retrained models. Below about 0.02 at 1,500 samples per side it
    is noise. Reference: Choi and Na 2023, arXiv 2311.02240.
    """
    return abs(_fraction(accuracy, "accuracy") - _fraction(reference, "reference"))


def nomus(accuracy: float, score: float, weight: float = 0.5) -> float:
    """Compute weight * accuracy + (1 - weight) * (1 - 2 score), in 0..1; higher is better.

    `accuracy` is the accuracy on test (mean over labels for multi-label), `score` the forgetting score in 0..0.5.
    Reference: Choi and Na 2023, arXiv 2311.02240.
    """
    if not 0 <= score <= 0.5:
        raise ValueError(f"a forgetting score must lie in 0..0.5, got {score}")
    weight = _fraction(weight, "weight")
    return weight * _fraction(accuracy, "accuracy") + (1 - weight) * (1 - 2 * score)


def agl(unlearned: Mapping[str, float], retrained: Mapping[str, float], *, variant: Variant = "product") -> Agreement:
    """Compute AGL (agreement of logits): the product or mean of 1 - |unlearned - retrained| over metrics, in 0..1.

    Intended for the accuracies on forget, on retain, and on test samples of forgotten and of retained classes; both
    mappings must have the same names. The paper that names this score (arXiv 2503.06991) could not be read for its
    formula; this one is defined by raybench and keeps the parts.
    """
    if set(unlearned) != set(retrained):
        raise ValueError(
            f"unlearned has {sorted(unlearned)}, retrained has {sorted(retrained)}: both need the same metrics"
        )
    return _join(_agreements(unlearned, retrained, list(unlearned)), variant)


def agr(
    unlearned_knn: Mapping[str, float],
    retrained_knn: Mapping[str, float],
    cka: Mapping[str, float],
    *,
    variant: Variant = "product",
) -> Agreement:
    """Compute AGR (agreement of representations) from 1 - |k-NN_u - k-NN_r| and CKA(u, r) of each downstream set.

    In 0..1, 1 = retrained. An unbiased CKA below 0 counts as 0. The formula is defined by raybench, see `agl`.
    """
    if set(unlearned_knn) != set(retrained_knn):
        raise ValueError(f"k-NN sets differ: {sorted(unlearned_knn)} and {sorted(retrained_knn)}")
    parts = {
        f"knn {name}": part for name, part in _agreements(unlearned_knn, retrained_knn, list(unlearned_knn)).items()
    }
    parts |= {f"cka {name}": _fraction(max(value, 0.0), f"cka {name}") for name, value in cka.items()}
    return _join(parts, variant)


def h_lr(agl: float, agr: float) -> float:
    """Compute H-LR, the harmonic mean of `agl` (logits) and `agr` (representations): in 0..1, 0 where either is 0."""
    total = agl + agr
    return 2 * agl * agr / total if total else 0.0


def tug_of_war(unlearned: Mapping[str, Estimate], retrained: Mapping[str, Estimate]) -> Estimate:
    """Compute the product over splits of 1 - |accuracy - accuracy of a retrained model|, in 0..1, 1 = retrained.

    Reference: Zhao et al. 2024 (arXiv 2406.01257). Pass the accuracy of an attack as "forget" for ToW-MIA. The interval
    treats all accuracies as independent (variance estimates recovery); n counts the samples of all splits.
    """
    first, second = ({name: estimate.value for name, estimate in side.items()} for side in (unlearned, retrained))
    agreements: list[float] = list(_agreements(first, second, list(unlearned)).values())
    value = float(np.prod(agreements))
    factors = [_agreement(estimate, retrained[name]) for name, estimate in unlearned.items()]
    others = [math.prod(other.value for other in factors if other is not factor) for factor in factors]
    below = math.hypot(*((factor.value - factor.low) * rest for factor, rest in zip(factors, others)))
    above = math.hypot(*((factor.high - factor.value) * rest for factor, rest in zip(factors, others)))
    n = sum(estimate.n for estimate in unlearned.values())
    return Estimate(value, max(0.0, value - below), min(1.0, value + above), n, "mover")


def pareto_ranks(values: Array, *, best: Sequence[Literal["lowest", "highest"]] | None = None) -> Ints:
    """Return the Pareto front (n,) of each row of `values` (n, objectives): 1 where no other row dominates it.

    A row dominates another if it is nowhere worse and somewhere better; equal rows share a front. By default the lowest
    value of each objective is best.
    """
    table = as_array(values, finite=True)
    if table.ndim != 2:
        raise ValueError(f"values must have shape (n, objectives), got {table.shape}")
    sides = list(best) if best is not None else ["lowest"] * table.shape[1]
    if len(sides) != table.shape[1] or not set(sides) <= {"lowest", "highest"}:
        raise ValueError(f"give 'lowest' or 'highest' for each of the {table.shape[1]} objectives, got {sides}")
    costs = table * np.array([1.0 if side == "lowest" else -1.0 for side in sides])
    no_worse = (costs[:, None, :] <= costs[None, :, :]).all(axis=2)
    dominates = no_worse & (costs[:, None, :] < costs[None, :, :]).any(axis=2)  # [i, j]: i dominates j
    ranks = np.zeros(len(costs), dtype=np.int64)
    front = 0
    while (ranks == 0).any():
        front += 1
        remaining = ranks == 0
        ranks[remaining & ~dominates[remaining].any(axis=0)] = front
    return ranks


def _agreements(
    unlearned: Mapping[str, float], retrained: Mapping[str, float], names: Sequence[str]
) -> dict[str, float]:
    if not names:
        raise ValueError("no metrics to compare")
    for side, numbers in (("unlearned", unlearned), ("retrained", retrained)):
        missing = [name for name in names if name not in numbers]
        if missing:
            raise ValueError(f"{side} lacks {', '.join(missing)} (it has {', '.join(numbers) or 'nothing'})")
    return {name: 1 - abs(_fraction(unlearned[name], name) - _fraction(retrained[name], name)) for name in names}


def _agreement(unlearned: Estimate, retrained: Estimate) -> Estimate:
    """Return 1 - |unlearned - retrained|; its interval maps that of the difference."""
    gap = difference(unlearned, retrained)
    ends = [1 - abs(end) for end in (gap.low, gap.high)]
    high = 1.0 if gap.low <= 0 <= gap.high else max(ends)
    return Estimate(1 - abs(gap.value), min(ends), high, unlearned.n, gap.interval)


def _join(parts: dict[str, float], variant: Variant) -> Agreement:
    if variant not in ("product", "mean"):
        raise ValueError(f"unknown variant {variant!r} (allowed: product, mean)")
    numbers = list(parts.values())
    return Agreement(float(np.prod(numbers) if variant == "product" else np.mean(numbers)), parts, variant)


def _fraction(value: float, name: str) -> float:
    number = float(value)
    if not -1e-12 <= number <= 1 + 1e-12:
        raise ValueError(f"{name} must be a fraction in 0..1, got {value}")
    return min(max(number, 0.0), 1.0)
