"""Scores made of other scores. Each keeps or names its parts, for a composite hides which part failed.

NoMUS alone rewards collapse: a constant majority model gets about 0.89 on MUCAC "young", as much as retraining. Show
`accuracy.majority_baseline` and the gaps of the parts beside it. All inputs are fractions in 0..1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.intervals import difference

Variant = Literal["product", "mean"]


@dataclass(frozen=True)
class Agreement:
    """A score in 0..1 (1 is retrained) and the agreements that it is made of, so that it can be made anew."""

    value: float
    parts: dict[str, float]
    variant: str


def forgetting_score(accuracy: float, *, reference: float = 0.5) -> float:
    """Return |M - reference| for the accuracy M of a membership attack, 0..0.5 for 0.5, lower is better forgotten.

    0.5 is right only where forget and unseen samples come from one law; otherwise give the retrained models' M. Below
    about 0.02 at 1,500 samples a side it is noise. Source: Choi and Na 2023, arXiv 2311.02240.
    """
    return abs(_fraction(accuracy, "accuracy") - _fraction(reference, "reference"))


def nomus(accuracy: float, score: float, weight: float = 0.5) -> float:
    """Return weight * accuracy + (1 - weight) * (1 - 2 score), in 0..1, higher is better.

    `accuracy` is that on test (mean over labels for multi-label), `score` the forgetting score in 0..0.5.
    Source: Choi and Na 2023, arXiv 2311.02240.
    """
    if not 0 <= score <= 0.5:
        raise ValueError(f"a forgetting score lies in 0..0.5, got {score}")
    share = _fraction(weight, "weight")
    return share * _fraction(accuracy, "accuracy") + (1 - share) * (1 - 2 * score)


def agl(unlearned: Mapping[str, float], retrained: Mapping[str, float], *, variant: Variant = "product") -> Agreement:
    """Return the logit agreement: product or mean of 1 - |unlearned - retrained| over the metrics given, in 0..1.

    Meant for FA, RA, TFA, TRA and, if measured, MIA; both mappings must hold the same names. The paper that names this
    score (arXiv 2503.06991) could not be read for its formula: this one is ours, and the parts are kept.
    """
    if set(unlearned) != set(retrained):
        raise ValueError(f"unlearned has {sorted(unlearned)}, retrained has {sorted(retrained)}: give the same metrics")
    return _join(_agreements(unlearned, retrained, list(unlearned)), variant)


def agr(
    unlearned_knn: Mapping[str, float],
    retrained_knn: Mapping[str, float],
    cka: Mapping[str, float],
    *,
    variant: Variant = "product",
) -> Agreement:
    """Return the representation agreement: 1 - |kNN_u - kNN_r| per downstream set, joined with CKA(u, r) per set.

    In 0..1, 1 is retrained. An unbiased CKA below 0 counts as 0. Formula ours, see `agl`.
    """
    if set(unlearned_knn) != set(retrained_knn):
        raise ValueError(f"k-NN sets differ: {sorted(unlearned_knn)} and {sorted(retrained_knn)}")
    parts = {
        f"knn {name}": part for name, part in _agreements(unlearned_knn, retrained_knn, list(unlearned_knn)).items()
    }
    parts |= {f"cka {name}": _fraction(max(value, 0.0), f"cka {name}") for name, value in cka.items()}
    return _join(parts, variant)


def h_lr(agl: float, agr: float) -> float:
    """Return the harmonic mean."""
    total = agl + agr
    return 2 * agl * agr / total if total else 0.0


def tug_of_war(unlearned: Mapping[str, Estimate], retrained: Mapping[str, Estimate]) -> Estimate:
    """Return the product over splits."""
    values = [{name: estimate.value for name, estimate in side.items()} for side in (unlearned, retrained)]
    value = float(np.prod(list(_agreements(*values, list(unlearned)).values())))
    factors = [_agreement(estimate, retrained[name]) for name, estimate in unlearned.items()]
    others = [math.prod(other.value for other in factors if other is not factor) for factor in factors]
    below = math.hypot(*((factor.value - factor.low) * rest for factor, rest in zip(factors, others)))
    above = math.hypot(*((factor.high - factor.value) * rest for factor, rest in zip(factors, others)))
    n = sum(estimate.n for estimate in unlearned.values())
    return Estimate(value, max(0.0, value - below), min(1.0, value + above), n, "mover")


def pareto_ranks(values: Array, *, best: Sequence[Literal["lowest", "highest"]] | None = None) -> np.ndarray:
    """Return the front (n,) on which each row of `values` (n, objectives) lies: 1 where no other row beats it.

    A row beats another if it is nowhere worse and somewhere better; equal rows share a front. Default: all `lowest`.
    """
    table = as_array(values, finite=True)
    if table.ndim != 2:
        raise ValueError(f"values must have shape (n, objectives), got {table.shape}")
    sides = list(best) if best is not None else ["lowest"] * table.shape[1]
    if len(sides) != table.shape[1] or not set(sides) <= {"lowest", "highest"}:
        raise ValueError(f"give 'lowest' or 'highest' for each of the {table.shape[1]} objectives, got {sides}")
    costs = table * np.array([1.0 if side == "lowest" else -1.0 for side in sides])
    no_worse = (costs[:, None, :] <= costs[None, :, :]).all(axis=2)
    beats = no_worse & (costs[:, None, :] < costs[None, :, :]).any(axis=2)  # [i, j]: i beats j
    ranks = np.zeros(len(costs), dtype=np.int64)
    front = 0
    while (ranks == 0).any():
        front += 1
        left = ranks == 0
        ranks[left & ~beats[left].any(axis=0)] = front
    return ranks


def _agreements(
    unlearned: Mapping[str, float], retrained: Mapping[str, float], names: Sequence[str]
) -> dict[str, float]:
    if not names:
        raise ValueError("no metrics given to compare")
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
