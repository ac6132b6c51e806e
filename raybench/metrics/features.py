"""What a linear probe finds in penultimate features, and how far the features drifted from the original's.

A changed head hides what the features still contain; a new probe on them reads it. Drift compares axis by axis, which
CKA does not, so it detects a rotation, and means nothing between models with different initial weights.
"""

import math

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.features import class_drift, linear_probe
from raybench.metrics.functions.intervals import bounded_mean
from raybench.metrics.functions.spaced import spaced


@metric(
    source="linear probes, Alain and Bengio 2017, arXiv 1610.01644; fitted on retain samples by raybench",
    direction="match",
    low=0,
    high=1,
    splits=("forget", "test"),
    cost="up to 1,000 passes over limit * features * classes for each split: about 0.2 s for 5,000 * 512 * 10",
    caution=(
        "Where a whole class is forgotten the probe never sees it and is wrong on all of it, whatever the features "
        "contain: read CKA there."
    ),
    on_request=True,
)
def linear_probe_accuracy(
    features: Array,
    labels: Array,
    retain_features: Array,
    retain_labels: Array,
    *,
    limit: int = 5000,
    inverse_regularization: float = 1.0,
    max_iterations: int = 1000,
) -> Estimate:
    """Measure what a new linear head recovers from the features: on forget, more than retraining means memory.

    The accuracy of a logistic regression on features (N, D), fitted on at most `limit` retain samples, evenly spaced by
    sample id; in 0..1.

    Interval: Wilson, with the fitted probe fixed. Raise ValueError for labels (N, L), for a single class among those
    retain samples, and for empty sets.
    """
    return linear_probe(
        spaced(retain_features, limit),
        spaced(retain_labels, limit),
        features,
        labels,
        inverse_regularization=inverse_regularization,
        max_iterations=max_iterations,
    )


@metric(
    source="none: defined by raybench",
    direction="match",
    low=0,
    splits=("retain", "forget", "test"),
    cost="limit * features for each split: 0.5 s for 10,000 * 512",
    caution=(
        "Retrained models start from other initial weights than the original (unless `model.init` sets them), so "
        "their axes do not correspond: their drift is near its maximum and no target. Compare forget with retain, and "
        "methods with each other. The centroid of a class of few samples moves by noise."
    ),
)
def feature_drift(
    features: Array, original_features: Array, labels: Array, *, limit: int = 10_000
) -> dict[str, Estimate]:
    """Measure how far unlearning moved the features: 0 means not at all; more on forget than on retain is targeted.

    The mean of 1 - cosine between features (N, D) and those of the original on the same samples, in 0..2.

    - `_euclidean`: the mean distance over the mean norm of the original's features.
    - `_centroid`: the distance of class means on the same scale, averaged over classes by count; at most `_euclidean`.
    - `_worst_class`: the largest mean of 1 - cosine of a class.

    For labels (N, L) a class is a whole row of labels. At most `limit` samples are used, evenly spaced. Intervals:
    Student's t, where there is one. Raise ValueError for empty sets, and where all features of the original are zero.
    """
    targets = as_array(labels, name="labels", finite=True, dtype=None)
    n, num_original = len(features), len(original_features)
    if targets.ndim not in (1, 2) or not len(targets) == n == num_original or not targets.size:
        raise ValueError(
            f"labels of shape {targets.shape} and {num_original} features of the original given for {n} samples"
        )
    current, reference, chosen = (spaced(values, limit) for values in (features, original_features, targets))
    _, index = np.unique(chosen.reshape(len(chosen), -1), axis=0, return_inverse=True)
    by_sample = class_drift(current, reference, np.arange(len(chosen)))  # every sample is its own class
    by_class = class_drift(current, reference, index.ravel())
    worst, num_classes = int(by_class.cosine.argmax()), len(by_class.counts)
    centroid = float(np.average(by_class.centroid, weights=by_class.counts))
    return {
        "": bounded_mean(by_sample.cosine, high=2.0),
        "_euclidean": bounded_mean(by_sample.euclidean),
        "_centroid": _without_interval(centroid, len(chosen), "distances of means"),
        "_worst_class": _without_interval(
            by_class.cosine[worst], by_class.counts[worst], f"the largest of {num_classes}"
        ),
    }


def _without_interval(value: float, n: int, reason: str) -> Estimate:
    return Estimate(float(value), math.nan, math.nan, int(n), f"none: {reason}")
