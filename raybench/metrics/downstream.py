"""Transfer: how useful the features still are for images and labels that no model was trained on.

A retrained model never saw the forgotten classes, so its features do worse on a downstream set close to them; a model
that only changed its head does not (arXiv 2503.06991). The released code uses logits as representation and averages a
biased CKA over batches in file order; both are separate metrics here.
"""

import torch

from raybench.metrics.framework.arrays import Array, Ints, take
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.framework.tensors import as_class_labels
from raybench.metrics.functions.cka import Estimator, cka_estimate
from raybench.metrics.functions.folds import stratified_split
from raybench.metrics.functions.knn import DistanceName, knn_accuracy
from raybench.metrics.functions.spaced import at_most
from raybench.metrics.representation import CKA_CAUTION, CKA_COST, CKA_LIMIT, CKA_RELEASED

SOURCE = "protocol of arXiv 2503.06991"
CKA_SOURCE = "Kornblith et al. 2019, arXiv 1905.00414; " + SOURCE
RELEASED_SEED = 2
_SETS = ("downstream",)
_KNN_COST = "0.16 * samples^2 * width multiplications"


@metric(
    source=SOURCE + ", on features instead of logits",
    direction="match",
    low=0,
    high=1,
    splits=_SETS,
    cost=_KNN_COST,
    caution=(
        "A set far from what was forgotten shows nothing of it. The choice of the test fifth matters: a standard "
        "deviation of 0.009 over 40 seeds on 357 digits, more than many gaps."
    ),
    released=(
        "`downstream_knn_logits` is the released form. With another head, of 2 random outputs on the same 64 features, "
        "it gives 0.56 on 357 digits, where this metric still gives 0.99."
    ),
)
def downstream_knn(
    features: Array,
    labels: Array,
    *,
    k: int = 5,
    distance: DistanceName = "cosine",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Estimate:
    """Measure how well the features transfer: match the retrained models; less means damage, more can mean memory.

    The accuracy of a vote of the `k` nearest neighbors in penultimate features, in 0..1. A fifth of each class is
    classified by the rest; `seed` draws it, and it is the same for every model.

    Interval: Wilson. Raise ValueError for several labels per sample, or classes too small to draw from.
    """
    bank, queries = stratified_split(labels, test_fraction, seed)
    return _accuracy(features, labels, bank, queries, k, distance)


@metric(
    source=SOURCE + ", as released",
    direction="match",
    low=0,
    high=1,
    splits=_SETS,
    protocol="released",
    cost=_KNN_COST + ", the width being the number of classes",
    caution="A changed head moves it even if the features are unchanged, see `downstream_knn`.",
    released=(
        "This is the released form. On the digits' test samples it gives 0.836 where features give 0.831 (originals), "
        "0.686 where they give 0.744 (poisoned models)."
    ),
)
def downstream_knn_logits(logits: Array, labels: Array, *, k: int = 5, seed: int = RELEASED_SEED) -> Estimate:
    """Measure transfer as the released code does, on logits: use it only to compare with reported numbers.

    It measures the head rather than the features. The accuracy of a cosine vote of the `k` nearest neighbors, in 0..1,
    on a random fifth drawn by torch's generator, which may miss a class. The released code orders samples by folder,
    this function by sample id.
    """
    n = len(as_class_labels(labels, len(logits)))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()
    cut = int(0.8 * n)
    return _accuracy(logits, labels, order[:cut], order[cut:], k, "cosine")


@metric(
    source=CKA_SOURCE,
    direction="raise",
    low=-1,
    high=1,
    splits=_SETS,
    cost=CKA_COST + "; for each retrained model",
    caution=CKA_CAUTION,
    released=CKA_RELEASED,
)
def downstream_cka_to_retrained(
    features: Array,
    retrained_features: Array,
    *,
    estimator: Estimator = "unbiased",
    batch_size: int = 512,
    limit: int | None = CKA_LIMIT,
) -> Estimate:
    """Measure how similar features are to retraining on a downstream set: higher is better, up to the noise floor.

    Linear centered kernel alignment (CKA) of features (N, D) with those of a retrained model.

    At most `limit` samples are used, evenly spaced; null takes all. Raise ValueError for constant features or fewer
    than 4 samples.
    """
    first, second = at_most(features, limit), at_most(retrained_features, limit)
    return cka_estimate(first, second, estimator=estimator, batch_size=batch_size)


@metric(source=CKA_SOURCE, direction="match", low=-1, high=1, splits=_SETS, cost=CKA_COST, caution=CKA_CAUTION)
def downstream_cka_to_original(
    features: Array,
    original_features: Array,
    *,
    estimator: Estimator = "unbiased",
    batch_size: int = 512,
    limit: int | None = CKA_LIMIT,
) -> Estimate:
    """Measure how much of the original's features is left on a downstream set: near 1 means hardly any change.

    Match the CKA between retrained models and the original. Linear centered kernel alignment (CKA) of features (N, D)
    with those of the original.

    At most `limit` samples are used, evenly spaced; null takes all. Raise ValueError for constant features or fewer
    than 4 samples.
    """
    first, second = at_most(features, limit), at_most(original_features, limit)
    return cka_estimate(first, second, estimator=estimator, batch_size=batch_size)


@metric(
    source=CKA_SOURCE + ", as released",
    direction="raise",
    low=0,
    high=1,
    splits=("retain", "forget", "test", "downstream"),
    protocol="released",
    cost="samples * batch_size * width multiplications, or 2 * samples * width^2 where batches are larger than width",
    caution="Compare it only with numbers of the same width, batch size and order of samples.",
    released=(
        "This is the released form. Compared with CKA of all samples: 0.80 instead of 0.00 for 5,120 unrelated "
        "features of width 2,048; for two models that share ten class means (512 noisy samples each, width 128) 0.199 "
        "instead of 0.815 with one class a batch, 0.825 shuffled. A last batch of one sample makes the released "
        "code's number NaN."
    ),
)
def cka_batched(features: Array, retrained_features: Array, *, batch_size: int = 512) -> Estimate:
    """Measure similarity to retraining as the released code does: use it only to compare with reported numbers.

    The mean over consecutive batches of biased CKA (centered kernel alignment) with a retrained model; the last batch
    counts as much as the others. It grows with feature width over batch size, and falls where a batch holds one class.

    Raise ValueError where the last batch holds one sample.
    """
    return cka_estimate(features, retrained_features, estimator="batched", batch_size=batch_size)


def _accuracy(rows: Array, labels: Array, bank: Ints, queries: Ints, k: int, distance: DistanceName) -> Estimate:
    classes = as_class_labels(labels, len(rows))
    points = take(rows, bank), take(rows, queries)
    return knn_accuracy(points[0], classes[bank], points[1], classes[queries], k, distance, bank_ids=bank)
