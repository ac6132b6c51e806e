"""How far a method moved the weights. Weak evidence: retraining with another seed moves weights far more."""

import math

from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions import weights as distances
from raybench.metrics.functions.weights import WeightDistance, Weights

_SOURCE = "layer-wise distance of Golatkar et al. 2020, arXiv 1911.04933, and Tarun et al. 2023, arXiv 2111.08947"
_COST = "one read of both checkpoints"
_NO_INTERVAL = "none: one pair of models"
_CAUTION = (
    "Networks that compute the same function can have distant weights, and two training runs with different seeds "
    "always do: it shows where a method worked, never whether it forgot."
)


@metric(source=_SOURCE, direction="match", low=-1, cost=_COST, caution=_CAUTION)
def weight_distance_to_original(weights: Weights, original_weights: Weights) -> dict[str, Estimate]:
    """Measure how far a method moved the weights from the original: 0 means that it changed nothing.

    The Euclidean distance over all parameters, divided by the norm of the original's, 0 and above. `_l2` is the
    distance itself, `_cosine` (-1..1) the cosine of both as one vector.

    n counts weights. Raise ValueError for NaN weights, or where all weights of either model are zero.
    """
    return _estimates(distances.distance(weights, original_weights))


@metric(source=_SOURCE, direction="match", low=-1, cost=_COST + ", for each retrained model", caution=_CAUTION)
def weight_distance_to_retrained(weights: Weights, retrained_weights: Weights) -> dict[str, Estimate]:
    """Measure how far the weights are from a retrained model: match the distance among retrained models.

    A smaller distance is no success. Definition and parts as in `weight_distance_to_original`.
    """
    return _estimates(distances.distance(weights, retrained_weights))


@metric(
    source=_SOURCE,
    direction="match",
    low=0,
    cost=_COST,
    caution=_CAUTION + " Layers followed by a normalization can be rescaled without any effect.",
    on_request=True,
)
def weight_distance_by_layer(weights: Weights, original_weights: Weights) -> dict[str, Estimate]:
    """Measure which layers a method changed: 0 means that it left the parameter alone.

    For each parameter, as `_<name>`, the Euclidean distance to the original's over its norm, 0 and above. Parameters
    that are all zero in the original (a fresh bias) are left out; raise ValueError where all are.
    """
    estimates = {
        f"_{name}": Estimate(layer.relative_l2, math.nan, math.nan, layer.size, _NO_INTERVAL)
        for name, layer in distances.per_layer(weights, original_weights).items()
        if layer.relative_l2 is not None
    }
    if not estimates:
        raise ValueError("all weights of the original are zero")
    return estimates


def _estimates(distance: WeightDistance) -> dict[str, Estimate]:
    if distance.relative_l2 is None or distance.cosine is None:
        raise ValueError("all weights of one of the two models are zero")
    parts = {"": distance.relative_l2, "_l2": distance.l2, "_cosine": distance.cosine}
    return {name: Estimate(value, math.nan, math.nan, distance.size, _NO_INTERVAL) for name, value in parts.items()}
