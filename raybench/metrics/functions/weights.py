"""Distances between the weights of two models. Weak evidence: retraining with another seed moves weights far more.

Weights come as {name: array}, for example `dict(model.named_parameters())`. A whole `state_dict` adds the running
statistics of BatchNorm to the distance; integer entries (batch counters) are skipped.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, as_array

Weights = Mapping[str, Array]


class WeightDistance(NamedTuple):
    """Distances between two sets of weights."""

    l2: float  # 0 and above
    relative_l2: float | None  # l2 over the norm of the reference; None where that is 0
    cosine: float | None  # -1..1; None where either model is all zeros
    size: int  # number of weights


def distance(weights: Weights, reference: Weights) -> WeightDistance:
    """Compute all distances over all weights as one vector; raise ValueError where names or shapes differ."""
    sums = [_sums(a, b) for _, a, b in _pairs(weights, reference)]
    return _distance(np.sum(sums, axis=0))


def per_layer(weights: Weights, reference: Weights) -> dict[str, WeightDistance]:
    """Compute the distances of each named array, in the order of `weights`: where a method changed the model."""
    return {name: _distance(_sums(a, b)) for name, a, b in _pairs(weights, reference)}


def _pairs(weights: Weights, reference: Weights) -> list[tuple[str, Floats, Floats]]:
    if weights.keys() != reference.keys():
        unpaired = sorted(weights.keys() ^ reference.keys())
        raise ValueError(f"the two models do not have the same weights: only one of them has {unpaired[:5]}")
    pairs = []
    for name, values in weights.items():
        a, b = as_array(values, name=name, dtype=None), as_array(reference[name], name=name, dtype=None)
        if a.shape != b.shape:
            raise ValueError(f"{name} has shape {a.shape} in one model and {b.shape} in the other")
        if a.dtype.kind != "f":
            continue
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ValueError(f"{name} contains NaN or infinite weights")
        pairs.append((name, a.ravel(), b.ravel()))
    if not pairs:
        raise ValueError("there are no floating-point weights to compare")
    return pairs


def _sums(a: Floats, b: Floats) -> Floats:
    """Return sums of (a - b)^2, a b, a^2, b^2, and the count."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.array([np.square(a - b).sum(), (a * b).sum(), np.square(a).sum(), np.square(b).sum(), a.size])


def _distance(sums: Floats) -> WeightDistance:
    difference, product, squares, reference_squares, count = (float(x) for x in sums)
    l2, norms = math.sqrt(difference), math.sqrt(squares) * math.sqrt(reference_squares)
    return WeightDistance(
        l2=l2,
        relative_l2=l2 / math.sqrt(reference_squares) if reference_squares > 0 else None,
        cosine=min(1.0, max(-1.0, product / norms)) if norms > 0 else None,
        size=int(count),
    )
