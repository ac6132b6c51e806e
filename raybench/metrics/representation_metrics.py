"""The metrics of the evaluation on penultimate features: CKA to the references, and k nearest neighbors.

Accuracy can be won by changing the head alone; these read what lies below it. None has a fixed ideal: two retrained
models do not reach a CKA of 1 either, so their mutual value (the noise floor) is what a method can be asked for.
"""

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.cka import Estimator, cka_estimate
from raybench.metrics.functions.knn import DistanceName, knn_accuracy

_SOURCE = "Kornblith et al. 2019, arXiv 1905.00414; protocol of arXiv 2503.06991"
_SPLITS = ("retain", "forget", "test")
CKA_COST = "4 * samples * width^2 multiplications, or samples^2 * width where width is larger"
CKA_CAUTION = (
    "The longest directions decide: one of 512 shared and 20 times as long, the others unrelated, reads 0.997. So does "
    "the bulk of classes: with one of 100 moved onto another it is 0.99."
)
CKA_RELEASED = (
    "The mean of biased CKA over batches of 512 in the order of classes (`cka_batched`): 0.80 instead of 0.00 for "
    "5,120 unrelated features of width 2,048; 0.199 instead of 0.815 for two models that share ten class means (512 "
    "noisy samples each, width 128)."
)


@metric(source=_SOURCE, direction="match", low=-1, high=1, splits=_SPLITS, cost=CKA_COST, caution=CKA_CAUTION)
def cka_to_original(
    features: Array, original_features: Array, *, estimator: Estimator = "unbiased", batch_size: int = 512
) -> Estimate:
    """Return linear CKA of features (N, D) to those of the original model: near 1, the features were hardly touched.

    Match the retrained models' own CKA to the original. Raise ValueError for constant features or fewer than 4 samples.
    """
    return cka_estimate(features, original_features, estimator=estimator, batch_size=batch_size)


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
    features: Array, retrained_features: Array, *, estimator: Estimator = "unbiased", batch_size: int = 512
) -> Estimate:
    """Return linear CKA of features (N, D) to those of a retrained model; up to the noise floor, higher is better.

    Raise ValueError for constant features or fewer than 4 samples.
    """
    return cka_estimate(features, retrained_features, estimator=estimator, batch_size=batch_size)


@metric(
    source="protocol of arXiv 2503.06991, on features instead of logits",
    direction="match",
    low=0,
    high=1,
    splits=("forget", "test"),
    cost="samples * retain samples * width multiplications: with CKA the dearest part of an evaluation",
    caution=(
        "Where a class is forgotten whole no retain sample can vote for it: digits without 3s, 0.00 on forget for "
        "originals as for retrained models."
    ),
    released=(
        "The code takes logits for features: on forget 0.865 instead of 0.918 for the digits' poisoned models, 0.815 "
        "instead of 0.822 for retrained ones. Its ties go by position: scikit-learn changed 15 % of 1,000 answers when "
        "a bank of 700 points, three copies each with labels of their own, was re-ordered."
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
    """Return the accuracy of the vote of the k nearest retain samples in feature space, in 0..1; ties by sample order.

    Match the retrained models. Raise ValueError for multi-label samples (N, L) or fewer than k retain samples.
    """
    return knn_accuracy(retain_features, retain_labels, features, labels, k, distance)
