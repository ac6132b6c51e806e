"""What the features are still good for elsewhere: transfer to images, and labels, that no model was trained on.

A retrained model never saw the forgotten classes, so where these are close to a downstream set it must serve worse
there; a model that only changed its head does not (arXiv 2503.06991). The released code calls logits the
representation, and averages a biased CKA over batches in the order of the files; both stand here under their own names.
"""

import numpy as np
import torch

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.framework.tensors import as_class_labels
from raybench.metrics.functions.cka import Estimator, cka_estimate
from raybench.metrics.functions.knn import DistanceName, knn_accuracy
from raybench.metrics.representation_metrics import CKA_CAUTION, CKA_COST, CKA_RELEASED

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
        "A set far from what was forgotten sees nothing of it. Another fifth moves it: an sd of 0.009 over 40 seeds on "
        "357 digits, more than many gaps."
    ),
    released=(
        "`downstream_knn_logits` is the released form. With another head, of 2 random outputs on the same 64 features, "
        "it gives 0.56 on 357 digits, where this still gives 0.99."
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
    """Return the share of a fifth of the set whose label the k nearest of the rest vote for, in 0..1; penultimate.

    The fifth is drawn by `seed`, from each class, and is the same for every model. Match the retrained models.
    Interval: Wilson. Raise ValueError for several labels per sample, or classes too small to draw from.
    """
    bank, queries = stratified_halves(labels, test_fraction, seed)
    return _accuracy(features, labels, bank, queries, k, distance)


@metric(
    source=SOURCE + ", as released",
    direction="match",
    low=0,
    high=1,
    splits=_SETS,
    protocol="released",
    cost=_KNN_COST + ", the width being the number of classes",
    caution="A changed head moves it with features as they were, see `downstream_knn`.",
    released=(
        "This is the released form. On the digits' test samples it gives 0.836 where features give 0.831 (originals), "
        "0.686 where they give 0.744 (poisoned models)."
    ),
)
def downstream_knn_logits(logits: Array, labels: Array, *, k: int = 5, seed: int = RELEASED_SEED) -> Estimate:
    """Return the same vote on logits, which is a measurement of the head: for comparison with released numbers only.

    As released: the outputs of the whole model, cosine, uniform votes, and a random fifth that no class is sure to be
    in, drawn by torch's generator. Its order of the samples was that of the folder; here it is that of the ids.
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
    features: Array, retrained_features: Array, *, estimator: Estimator = "unbiased", batch_size: int = 512
) -> Estimate:
    """Return linear CKA of the set's features (N, D) to a retrained model's; up to the noise floor, higher is better.

    Raise ValueError for constant features or fewer than 4 samples.
    """
    return cka_estimate(features, retrained_features, estimator=estimator, batch_size=batch_size)


@metric(source=CKA_SOURCE, direction="match", low=-1, high=1, splits=_SETS, cost=CKA_COST, caution=CKA_CAUTION)
def downstream_cka_to_original(
    features: Array, original_features: Array, *, estimator: Estimator = "unbiased", batch_size: int = 512
) -> Estimate:
    """Return linear CKA of the set's features (N, D) to the original's: near 1, the features were hardly touched.

    Match the retrained models' own CKA to the original. Raise ValueError for constant features or fewer than 4 samples.
    """
    return cka_estimate(features, original_features, estimator=estimator, batch_size=batch_size)


@metric(
    source=CKA_SOURCE + ", as released",
    direction="raise",
    low=0,
    high=1,
    splits=("retain", "forget", "test", "downstream"),
    protocol="released",
    cost="samples * batch_size * width multiplications, or 2 * samples * width^2 where batches are larger than width",
    caution="Compare it with numbers of the same width, batch size and order of samples only.",
    released=(
        "This is the released form. Against CKA of all samples: 0.80 instead of 0.00 for 5,120 unrelated features of "
        "width 2,048; for two models that share ten class means (512 noisy samples each, width 128) 0.199 instead of "
        "0.815 with one class a batch, 0.825 shuffled. A last batch of one sample makes the released code's number "
        "NaN."
    ),
)
def cka_batched(features: Array, retrained_features: Array, *, batch_size: int = 512) -> Estimate:
    """Return the mean over consecutive batches of biased CKA to a retrained model, to compare with released numbers.

    It grows with the width of the features over the batch size, and falls where batches hold one class each. The last
    batch counts as much as the others. Raise ValueError where that holds one sample.
    """
    return cka_estimate(features, retrained_features, estimator="batched", batch_size=batch_size)


def stratified_halves(labels: Array, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the bank and of the queries, sorted: `test_fraction` of every class, rounded, by `seed`.

    It depends on the labels (N,) and the seed alone. Raise ValueError where no class is large enough to give a query.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    given = as_class_labels(labels, len(labels))
    order = np.random.default_rng(seed).permutation(len(given))
    by_class = order[np.argsort(given[order], kind="stable")]
    _, counts = np.unique(given, return_counts=True)
    rank = np.arange(len(given)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_query = (rank + 0.5) / np.repeat(counts, counts) > 1 - test_fraction
    if not is_query.any():
        raise ValueError(
            f"no class is large enough to ask about {test_fraction:g} of it ({counts.max()} samples at most)"
        )
    return np.sort(by_class[~is_query]), np.sort(by_class[is_query])


def _accuracy(
    rows: Array, labels: Array, bank: np.ndarray, queries: np.ndarray, k: int, distance: DistanceName
) -> Estimate:
    points, given = np.asarray(rows), as_class_labels(labels, len(rows))
    return knn_accuracy(points[bank], given[bank], points[queries], given[queries], k, distance, bank_ids=bank)
