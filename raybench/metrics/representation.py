"""Similarity of penultimate features to the references (CKA), and what their nearest neighbors predict.

A method can change accuracy by changing the head alone; these metrics read what lies below it. None has a fixed ideal:
two retrained models do not reach a CKA of 1 either, so their mutual value (the noise floor) is the best that a method
can reach.
"""

import numpy as np

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.cka import Estimator, cka_estimate
from raybench.metrics.functions.knn import DistanceName, knn_accuracy
from raybench.metrics.functions.spaced import at_most

_SOURCE = "Kornblith et al. 2019, arXiv 1905.00414; protocol of arXiv 2503.06991"
_SPLITS = ("retain", "forget", "test")
CKA_LIMIT = 50_000  # samples: at more, the interval is far narrower than retrained models differ
CKA_COST = "4 * samples * width^2 multiplications, or samples^2 * width where width is larger"
CKA_CAUTION = (
    "Directions of large variance dominate: with one of 512 shared and 20 times as long, the others unrelated, CKA is "
    "0.997. So does the majority of classes: with one of 100 moved onto another it is 0.99."
)
CKA_RELEASED = (
    "The mean of biased CKA over batches of 512 in the order of classes (`cka_batched`): 0.80 instead of 0.00 for "
    "5,120 unrelated features of width 2,048; 0.199 instead of 0.815 for two models that share ten class means (512 "
    "noisy samples each, width 128)."
)


@metric(source=_SOURCE, direction="match", low=-1, high=1, splits=_SPLITS, cost=CKA_COST, caution=CKA_CAUTION)
def cka_to_original(
    features: Array,
    original_features: Array,
    *,
    estimator: Estimator = "unbiased",
    batch_size: int = 512,
    limit: int | None = CKA_LIMIT,
) -> Estimate:
    """Measure how much of the original's features is left: near 1 means that unlearning hardly changed them.

    Match the CKA between retrained models and the original. Linear centered kernel alignment (CKA) of features (N, D)
    with those of the original; 1 = equal up to rotation, scale and shift, 0 = unrelated.

    At most `limit` samples are used, evenly spaced; null takes all. Raise ValueError for constant features or fewer
    than 4 samples.
    """
    first, second = at_most(features, limit), at_most(original_features, limit)
    return cka_estimate(first, second, estimator=estimator, batch_size=batch_size)


@metric(
    source=_SOURCE,
    direction="raise",
    low=-1,
    high=1,
    splits=_SPLITS,
    cost=CKA_COST + "; for each retrained model",
    caution=CKA_CAUTION,
    released=CKA_RELEASED,
)
def cka_to_retrained(
    features: Array,
    retrained_features: Array,
    *,
    estimator: Estimator = "unbiased",
    batch_size: int = 512,
    limit: int | None = CKA_LIMIT,
) -> Estimate:
    """Measure how similar the features are to those of retraining: higher is better, up to the noise floor.

    Linear centered kernel alignment (CKA) of features (N, D) with those of a retrained model.

    At most `limit` samples are used, evenly spaced; null takes all. Raise ValueError for constant features or fewer
    than 4 samples.
    """
    first, second = at_most(features, limit), at_most(retrained_features, limit)
    return cka_estimate(first, second, estimator=estimator, batch_size=batch_size)


@metric(
    source="protocol of arXiv 2503.06991, on features instead of logits",
    direction="match",
    low=0,
    high=1,
    splits=("forget", "test"),
    cost="samples * retain samples * width multiplications: with CKA the most expensive part of an evaluation",
    caution=(
        "Where whole classes are forgotten it is not defined on forget, since no retain sample can vote for them."
    ),
    released=(
        "The code uses logits as features: on forget 0.865 instead of 0.918 for the digits' poisoned models, 0.815 "
        "instead of 0.822 for retrained ones. It breaks ties by position: scikit-learn changed 15 % of 1,000 "
        "predictions when a bank of 700 points, each with three copies under different labels, was re-ordered."
    ),
)
def knn(
    features: Array,
    labels: Array,
    retain_features: Array,
    retain_labels: Array,
    *,
    k: int = 5,
    distance: DistanceName = "cosine",
) -> Estimate:
    """Measure whether features still place forget samples among their class: higher than retraining means memory.

    The accuracy of a vote of the `k` nearest retain samples in feature space, in 0..1. Ties go to the earlier sample
    id.

    Interval: Wilson. Raise ValueError for labels (N, L), fewer than k retain samples, and where no retain sample has a
    class of these samples: the accuracy is then 0 whatever the features are.
    """
    if np.ndim(labels) == 1 and not np.isin(labels, retain_labels).any():
        raise ValueError("0 for every model: no retain sample has a class of these samples, so none can vote for it")
    return knn_accuracy(retain_features, retain_labels, features, labels, k, distance)
