"""Accuracy and calibration: how often the model is right, and whether its confidence matches.

The literature calls these numbers unlearning accuracy (UA, 1 - accuracy on forget), retain accuracy (RA) and test
accuracy (TA).
"""

import numpy as np

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.accuracy import calibration_counts, correct_decisions, error_of_counts, top_k
from raybench.metrics.functions.intervals import (
    BLOCKS,
    clopper_pearson,
    complement,
    jackknife_of_sums,
    proportion,
    sparse_mean,
)
from raybench.metrics.functions.signals import loss


@metric(
    source="1 - UA, RA and TA of Shi et al. 2025 (arXiv 2501.19403); utility of Choi and Na 2023 (arXiv 2311.02240)",
    direction="match",
    low=0,
    high=1,
    splits=("retain", "forget", "test", "unseen"),
    cost="samples * classes comparisons",
    caution=(
        "A value near the frequency of the most common label (0.824 for gender on MUCAC) points to a collapsed model. "
        "On retain and test it does not measure memory: the digits' originals reach 0.848 on test, retrained models "
        "0.845."
    ),
    released=(
        "The code of arXiv 2501.19403 and 2503.06991 evaluates retain and forget with the training augmentation "
        "(`evaluate: {train_view: augmented}`). Digits trained with `augment: [affine]`, 4 models each: originals get "
        "0.976 instead of 0.998 on retain, retrained models 0.813 instead of 0.829 on forget."
    ),
)
def accuracy(logits: Array, labels: Array) -> Estimate:
    """Measure how often the model is right: on forget, more than retraining means memory, less means damage.

    On retain and test, less than retraining means lost utility. Top-1 accuracy for labels (N,); for labels (N, L) the
    mean accuracy over labels, each predicted where its logit is above 0. In 0..1.

    Interval: Clopper-Pearson; for labels (N, L) at the effective sample size, because the L decisions of one sample
    are not independent.
    """
    return proportion(correct_decisions(logits, labels).mean(axis=1))


@metric(
    source="UA of Shi et al. 2025, arXiv 2501.19403; SalUn, arXiv 2310.12508",
    direction="match",
    low=0,
    high=1,
    cost="forget samples * classes comparisons",
    caution=(
        "Any damage raises it. The digits' poisoned models get 0.36, twice the 0.18 of retrained models, while a k-NN "
        "vote on their features (`knn`) still predicts 0.92 of the forgotten labels."
    ),
    released="Evaluated with the augmentation as in `accuracy`, retrained models get 0.187 instead of 0.171 there.",
)
def unlearning_accuracy(forget_logits: Array, forget_labels: Array) -> Estimate:
    """Measure how often the model is wrong on forget: less than retraining means memory, more means over-forgetting.

    Unlearning accuracy (UA) = 1 - `accuracy` on the forget set, in 0..1.
    """
    return complement(accuracy(forget_logits, forget_labels))


@metric(
    source="Choi and Na 2023, arXiv 2311.02240, Table 1",
    direction="match",
    low=0,
    high=1,
    splits=("retain", "forget", "test", "unseen"),
    cost="samples * classes comparisons",
    caution=(
        "A suppressed label often stays second: the digits' poisoned models get 0.64 on forget at top-1 and 0.82 here, "
        "retrained models 0.82 and 0.87."
    ),
)
def top_2(logits: Array, labels: Array) -> Estimate:
    """Measure how often the label is among the two best guesses, which exposes a label that was only pushed to second.

    Match the retrained models; higher on forget means memory. The fraction of samples whose label (N,) is among the
    two largest logits (N, C), in 0..1, and 1 for two classes. MUFAC reports it in addition to top-1, because
    neighboring age classes are similar.

    Equal logits rank by class index. Interval: Clopper-Pearson. Raise ValueError for labels (N, L).
    """
    fraction, n = top_k(logits, labels, 2), len(labels)
    return clopper_pearson(round(fraction * n), n)


@metric(
    source="Choi and Na 2023, arXiv 2311.02240 (its notebooks print it)",
    direction="match",
    low=0,
    splits=("retain", "forget", "test", "unseen"),
    cost="samples * classes exponentials",
    caution=(
        "A few confident mistakes dominate it: one of 120 samples wrong by 20 nats adds 0.17. It follows the scale of "
        "the logits: doubling those of a model raises it wherever predictions are wrong."
    ),
    released=(
        "The notebooks of arXiv 2311.02240 print the sum of batch means over the number of samples for MUFAC, about "
        "1 / 64 of this at a batch size of 64."
    ),
)
def mean_loss(logits: Array, labels: Array) -> Estimate:
    """Measure how surprised the model is by the labels: on forget, a lower loss than retraining means memory.

    Above the retrained models means over-forgetting, on retain and test lost utility. The mean cross-entropy in nats, 0
    and above; for labels (N, L) the mean binary cross-entropy of the L labels.

    Interval: that of a weighted sum of rare events (`sparse_mean`).
    """
    return sparse_mean(loss(logits, labels))


@metric(
    source="Guo et al. 2017, arXiv 1706.04599",
    direction="match",
    low=0,
    high=1,
    splits=("retain", "forget", "test", "unseen"),
    cost="samples * (classes + bins)",
    caution=(
        "It follows the temperature of the softmax rather than memory: dividing the logits by 3 takes the digits' "
        "originals from 0.003 to 0.24 on forget, past the 0.14 of retrained models."
    ),
)
def calibration_error(logits: Array, labels: Array, *, bins: int = 15) -> Estimate:
    """Measure how far confidence is from accuracy: 0 means that the model is right as often as it is confident.

    Match the retrained models: they are over-confident on samples that they never saw, so a smaller value on forget
    means memory. Expected calibration error (Guo et al. 2017, eq. 3): the mean |confidence - accuracy| over `bins`
    equal bins of confidence, closed on the right, weighted by count; in 0..1. Confidence is the largest softmax
    probability; for labels (N, L) that of the predicted value of each label, all labels pooled.

    Biased upward for small N (about 0.8 sqrt(bins p (1 - p) / N) for a calibrated model), so compare at equal N only.
    Interval: jackknife over at most 50 blocks of samples.
    """
    counts = calibration_counts(logits, labels, bins)
    blocks = min(len(counts), BLOCKS)
    sums = np.stack([counts[block::blocks].sum(axis=0) for block in range(blocks)])
    return jackknife_of_sums(sums, error_of_counts, n=len(counts))
