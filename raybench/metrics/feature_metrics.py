"""The metrics of the evaluation on features beyond CKA and neighbors: what a linear probe finds, how far they drifted.

A changed head hides what the features still tell; a probe of one's own reads it. Drift compares axis by axis, which CKA
does not, so it sees a rotation, and means nothing between models of different initial weights.
"""

import math

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.intervals import mean_interval
from raybench.metrics.functions.representation import class_drift, linear_probe


@metric(
    source="linear probes, Alain and Bengio 2017, arXiv 1610.01644; fitted on retain samples is ours",
    direction="match",
    low=0,
    high=1,
    splits=("forget", "test"),
    cost="up to 1,000 passes over limit * features * classes for each split: about 0.2 s for 5,000 * 512 * 10",
    caution=(
        "Where a whole class is forgotten the probe never sees it and is wrong on all of it, whatever the features "
        "hold: read CKA there."
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
    """Return the accuracy of a logistic regression on features (N, D), fitted on retain samples, in 0..1.

    At most `limit` retain samples are taken, evenly spaced in the order of their ids. Match the retrained models.
    Interval: Wilson, for the probe as fitted. Raise ValueError for labels (N, L), for a single class among the retain
    samples taken, and for empty sets.
    """
    rows = _spaced(len(retain_features), limit)
    return linear_probe(
        as_array(retain_features, dtype=None)[rows],
        as_array(retain_labels, dtype=None)[rows],
        features,
        labels,
        inverse_regularization=inverse_regularization,
        max_iterations=max_iterations,
    )


@metric(
    source="none: ours",
    direction="match",
    low=0,
    splits=("retain", "forget", "test"),
    cost="limit * features for each split: 0.5 s for 10,000 * 512",
    caution=(
        "Retrained models start from other initial weights than the original (unless `model.init` gives them): their "
        "axes do not correspond, so their own drift is near its ceiling and no target. Compare forget with retain, and "
        "methods with each other. The centroid of a class of few samples moves by noise."
    ),
)
def feature_drift(
    features: Array, original_features: Array, labels: Array, *, limit: int = 10_000
) -> dict[str, Estimate]:
    """Return how far features (N, D) lie from the original's of the same samples: the mean of 1 - cosine, in 0..2.

    `_euclidean` is the mean distance over the mean norm of the original's features, `_centroid` that of class means,
    averaged over classes by their counts (what is left after averaging, at most `_euclidean`), `_worst_class` the
    largest mean of 1 - cosine of a class. With labels (N, L) a class is a whole row. At most `limit` samples are taken,
    evenly spaced. Intervals: Student's t, where there is one. Raise ValueError for empty sets, and where all of the
    original's features are zero.
    """
    given = as_array(labels, name="labels", finite=True, dtype=None)
    n, others = len(features), len(original_features)
    if given.ndim not in (1, 2) or not len(given) == n == others or not given.size:
        raise ValueError(f"labels of shape {given.shape} and {others} features of the original given for {n} samples")
    rows = _spaced(len(given), limit)
    own, other = (as_array(values, dtype=None)[rows] for values in (features, original_features))
    _, index = np.unique(given[rows].reshape(len(rows), -1), axis=0, return_inverse=True)
    each = class_drift(own, other, np.arange(len(rows)))  # every sample a class of its own
    by_class = class_drift(own, other, index.ravel())
    worst, num_classes = int(by_class.cosine.argmax()), len(by_class.counts)
    return {
        "": _kept(mean_interval(each.cosine), 2.0),
        "_euclidean": _kept(mean_interval(each.euclidean), math.inf),
        "_centroid": _alone(np.average(by_class.centroid, weights=by_class.counts), len(rows), "distances of means"),
        "_worst_class": _alone(by_class.cosine[worst], by_class.counts[worst], f"the largest of {num_classes}"),
    }


def _spaced(n: int, limit: int) -> np.ndarray:
    """Return at most `limit` of the rows 0..n-1, evenly spaced."""
    if limit < 2:
        raise ValueError(f"limit must be at least 2, got {limit}")
    size = min(n, limit)
    return np.arange(size) * n // max(size, 1)


def _kept(estimate: Estimate, high: float) -> Estimate:
    """Keep an interval, where there is one, in 0..high."""
    return estimate._replace(low=max(0.0, estimate.low), high=min(high, estimate.high)) if estimate.n > 1 else estimate


def _alone(value: float, n: int, why: str) -> Estimate:
    return Estimate(float(value), math.nan, math.nan, int(n), f"none: {why}")
