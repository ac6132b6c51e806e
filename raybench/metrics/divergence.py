"""Differences between a model's predictions and those of the references on the same samples, from stored logits."""

import math

import numpy as np

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.divergence import agreement, completeness, jensen_shannon, kl, l2_of_probabilities
from raybench.metrics.functions.intervals import complement, sparse_mean

_SPLITS = ("forget", "test")
_COST = "samples * classes exponentials"
_COST_EACH = _COST + ", for each retrained model"


@metric(
    source="Chundawat et al. 2023, arXiv 2205.08096, Eq. 9",
    direction="match",
    low=0,
    high=1,
    splits=_SPLITS,
    cost="samples * classes, and a forward pass of one more model over every split",
    caution=(
        "It rises with softer outputs alone: dividing the logits by 3 takes the digits' originals from 0.25 to 0.60, "
        "past the 0.30 of retrained models; a model that predicts at random scores 1. The random weights of the "
        "untrained network move it by a standard deviation of 0.001 there."
    ),
    released=(
        "The authors' code takes KL(mixture || model), in nats, and also divides by the number of classes: 0.80 "
        "instead of 0.25 for the digits' originals, 0.83 instead of 0.30 for retrained models."
    ),
)
def zrf(logits: Array, untrained_logits: Array) -> Estimate:
    """Measure how similar the predictions are to those of an untrained network: lower than retraining means memory.

    1 means that samples are treated as by a network that learned nothing, which is over-forgetting. The zero retrain
    forgetting score (ZRF) is 1 - mean Jensen-Shannon divergence to an untrained model, in 0..1. `untrained_logits`
    come from the same architecture at random weights.
    """
    return complement(sparse_mean(jensen_shannon(logits, untrained_logits), high=1.0))


@metric(
    source="Chundawat et al. 2023, arXiv 2205.08096",
    direction="lower",
    low=0,
    high=1,
    splits=_SPLITS,
    cost=_COST_EACH,
    caution=(
        "It does not separate damage from memory: 0.17 on forget for the digits' originals, 0.40 for poisoned models. "
        "Softer logits change it too (divided by 3: 0.20)."
    ),
    released=(
        "The authors' code differs as in `zrf`: 0.051 instead of 0.172 on forget for the digits' originals, 0.012 "
        "instead of 0.070 among retrained models."
    ),
)
def js_to_retrained(logits: Array, retrained_logits: Array) -> Estimate:
    """Measure how far the predictions are from those of retraining: lower is better, down to the noise floor.

    The mean Jensen-Shannon divergence to a retrained model in bits, in 0..1. The noise floor is the divergence among
    retrained models.
    """
    return sparse_mean(jensen_shannon(logits, retrained_logits), high=1.0)


@metric(
    source="Chundawat et al. 2023, arXiv 2205.08096",
    direction="match",
    low=0,
    high=1,
    splits=_SPLITS,
    cost=_COST,
    caution=(
        "Any change counts as forgetting: dividing the logits of the digits' originals by 3 gives 0.13 on forget, "
        "where retrained models have 0.17."
    ),
    released="As in `js_to_retrained`: 0.051 instead of 0.172 on forget for the digits' retrained models.",
)
def js_to_original(logits: Array, original_logits: Array) -> Estimate:
    """Measure how much unlearning changed the predictions: 0 means not at all; match the retrained models.

    The mean Jensen-Shannon divergence to the original in bits, in 0..1.
    """
    return sparse_mean(jensen_shannon(logits, original_logits), high=1.0)


@metric(
    source="Kullback and Leibler 1951; loss of arXiv 2302.09880",
    direction="lower",
    low=0,
    splits=_SPLITS,
    cost=_COST_EACH,
    caution=(
        "Softer logits lower it with nothing forgotten: divided by 3, the digits' originals go from 1.15 to 0.55 on "
        "forget (retrained models: 0.335). One of 120 samples wrong by 20 nats adds 0.13."
    ),
    released="Losses of released methods also average over classes: 1 / 10 of this at 10 classes, 1 / 200 at 200.",
)
def kl_to_retrained(logits: Array, retrained_logits: Array) -> Estimate:
    """Measure how badly the model predicts what retraining predicts: lower is better, down to the noise floor.

    The mean of KL(retrained || model) in nats, 0 and above. A few confident mistakes dominate it; `js_to_retrained` is
    bounded.
    """
    return sparse_mean(kl(logits, retrained_logits))


@metric(
    source="Kullback and Leibler 1951; loss of arXiv 2302.09880",
    direction="match",
    low=0,
    splits=_SPLITS,
    cost=_COST,
    caution=(
        "Damage looks like forgetting: on forget the digits' poisoned models reach 1.10, retrained ones 1.36. One of "
        "120 samples wrong by 20 nats adds 0.13."
    ),
    released="As in `kl_to_retrained`.",
)
def kl_to_original(logits: Array, original_logits: Array) -> Estimate:
    """Measure how much unlearning changed confident predictions: 0 means not at all; match the retrained models.

    The mean of KL(original || model) in nats, 0 and above.
    """
    return sparse_mean(kl(logits, original_logits))


@metric(
    source="churn of Milani Fard et al. 2016; Jagielski et al. 2022",
    direction="raise",
    low=0,
    high=1,
    splits=_SPLITS,
    cost="samples * classes comparisons, for each retrained model",
    caution=(
        "It ignores confidence and is coarse: on forget the digits' originals agree on 0.82, retrained models among "
        "themselves on 0.91, a difference of 11 of 120 samples."
    ),
)
def agreement_to_retrained(logits: Array, retrained_logits: Array) -> Estimate:
    """Measure how often the model predicts what retraining predicts: higher is better, up to the noise floor.

    The fraction of samples with the same predicted class as a retrained model, in 0..1. Retrained models do not fully
    agree with each other either.
    """
    return agreement(logits, retrained_logits)


@metric(
    source="Golatkar et al. 2021, arXiv 2012.13431",
    direction="lower",
    low=0,
    high=math.sqrt(2),
    splits=_SPLITS,
    cost=_COST_EACH,
    caution=(
        "Despite its name it reads outputs only, and it follows their softness: dividing the logits by 3 takes the "
        "digits' originals from 0.27 to 0.36 on forget, with nothing learned or forgotten."
    ),
)
def activation_distance(logits: Array, retrained_logits: Array) -> Estimate:
    """Measure how far the output probabilities are from those of retraining: lower is better, down to the noise floor.

    The mean Euclidean distance of softmax outputs to those of a retrained model, in 0..sqrt(2).
    """
    return sparse_mean(l2_of_probabilities(logits, retrained_logits), high=math.sqrt(2))


@metric(
    source="Cao and Yang 2015 (IEEE S&P); Nguyen et al. 2022, arXiv 2209.02299",
    direction="raise",
    low=0,
    high=1,
    splits=("forget", "test"),
    cost="samples * classes, for each retrained model",
    caution="Two models that make the same mistakes agree; two retrained models do not fully agree either.",
)
def completeness_to_retrained(logits: Array, labels: Array, retrained_logits: Array) -> Estimate:
    """Measure the overlap of predicted labels with those of retraining: higher is better, up to the noise floor.

    The Jaccard index of both models' sets of (sample, predicted label) pairs, in 0..1. For labels (N,) it is
    a / (2 - a) for agreement a, interval Clopper-Pearson. For labels (N, L) it covers all logits above 0, interval by
    the delta method, or Clopper-Pearson on the samples where that sees no spread.

    Raise ValueError where neither model predicts any label.
    """
    multi_label = np.ndim(labels) == 2
    return completeness(logits, retrained_logits, prediction="threshold" if multi_label else "argmax")
