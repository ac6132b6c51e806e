"""The metrics of the evaluation on weights: how far a method moved them. A weak witness, see `weights`."""

import math
from collections.abc import Mapping

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions import weights as distances
from raybench.metrics.functions.weights import WeightDistance

_SOURCE = "layer-wise distance of Golatkar et al. 2020, arXiv 1911.04933, and Tarun et al. 2023, arXiv 2111.08947"
_COST = "one read of both checkpoints"
_NO_INTERVAL = "none: one pair of models"
_CAUTION = (
    "Networks that compute the same may lie far apart, and two trainings with different seeds always do: it shows "
    "where a method worked, never whether it forgot."
)
Weights = Mapping[str, Array]


@metric(source=_SOURCE, direction="match", low=-1, cost=_COST, caution=_CAUTION)
def weight_distance_to_original(weights: Weights, original_weights: Weights) -> dict[str, Estimate]:
    """Return the Euclidean distance of all parameters to the original's over its norm, 0 and above; n counts weights.

    `_l2` is the distance itself, `_cosine` (-1..1) that of both as one vector. Raise ValueError for NaN weights, or an
    original of zeros.
    """
    return _named(distances.distance(weights, original_weights))


@metric(source=_SOURCE, direction="match", low=-1, cost=_COST + ", for each retrained model", caution=_CAUTION)
def weight_distance_to_retrained(weights: Weights, retrained_weights: Weights) -> dict[str, Estimate]:
    """Return the Euclidean distance of all parameters to a retrained model's over its norm, as above; n counts weights.

    Match what retrained models have among themselves; smaller is no success. Raise ValueError as above.
    """
    return _named(distances.distance(weights, retrained_weights))


@metric(
    source=_SOURCE,
    direction="match",
    low=0,
    cost=_COST,
    caution=_CAUTION + " Layers followed by a normalization may be scaled at will.",
    on_request=True,
)
def weight_distance_by_layer(weights: Weights, original_weights: Weights) -> dict[str, Estimate]:
    """Return each parameter's Euclidean distance to the original's over its norm, 0 and above, as `_<name>`.

    Left out: parameters that are all zero in the original (a fresh bias). Raise ValueError where all are.
    """
    found = {
        f"_{name}": Estimate(apart.relative_l2, math.nan, math.nan, apart.size, _NO_INTERVAL)
        for name, apart in distances.per_layer(weights, original_weights).items()
        if apart.relative_l2 is not None
    }
    if not found:
        raise ValueError("all weights of the original are zero")
    return found


def _named(apart: WeightDistance) -> dict[str, Estimate]:
    if apart.relative_l2 is None or apart.cosine is None:
        raise ValueError("all weights of one side are zero")
    parts = {"": apart.relative_l2, "_l2": apart.l2, "_cosine": apart.cosine}
    return {name: Estimate(value, math.nan, math.nan, apart.size, _NO_INTERVAL) for name, value in parts.items()}
