"""How far two models' predictive distributions are apart on the same samples, from stored logits.

Each function returns one number per sample; the metrics below average them. All run in float64 in log space, so logits
of +-1e4 and probabilities that underflow give finite answers.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.intervals import clopper_pearson, mean_interval
from raybench.metrics.functions.softmax import log_softmax, row_blocks

_SPLITS = ("forget", "test")
_COST = "samples * classes exponentials"
_COST_EACH = _COST + ", for each retrained model"


def jensen_shannon(logits: Array, reference_logits: Array) -> np.ndarray:
    """Return the Jensen-Shannon divergence of the two softmaxes of each sample (N,), in bits: 0 equal, 1 disjoint.

    Symmetric. Source: Lin 1991. What released unlearning code computes under this name is told at `zrf`.
    """
    return _by_block(_jensen_shannon, logits, reference_logits)


def kl(logits: Array, reference_logits: Array, *, direction: Literal["from", "to"] = "from") -> np.ndarray:
    """Return KL(reference || model) for each sample (N,) in nats, 0 for equal; `to` is KL(model || reference).

    `from` weighs what the reference finds likely. The mean over batch and classes in released code is C times less.
    """
    if direction not in ("from", "to"):
        raise ValueError(f"direction must be 'from' or 'to' the reference, got {direction!r}")
    model, reference = (logits, reference_logits) if direction == "to" else (reference_logits, logits)
    return _by_block(_kl, model, reference)


@metric(
    source="Chundawat et al. 2023, arXiv 2205.08096, Eq. 9",
    direction="match",
    low=0,
    high=1,
    splits=_SPLITS,
    cost="samples * classes, and a forward pass of one more model over every split",
    caution=(
        "It rises with softness alone: dividing the logits by 3 takes the digits' originals from 0.25 to 0.60, past "
        "the retrained models' 0.30; a model that answers at random scores 1. The untrained network's own draw moves "
        "it by an sd of 0.001 there."
    ),
    released=(
        "The authors' code takes KL(mixture || model), in nats, and divides by the number of classes as well: 0.80 "
        "instead of 0.25 for the digits' originals, 0.83 instead of 0.30 for retrained models."
    ),
)
def zrf(logits: Array, untrained_logits: Array) -> Estimate:
    """Return the zero retrain forgetting score, 1 - mean Jensen-Shannon to an untrained model, in 0..1.

    Match the retrained models: 1 means forget samples are treated as by a network that learned nothing, which is
    over-forgetting. `untrained_logits` come from the same architecture at random weights. Source: Chundawat et al.
    2023, arXiv 2205.08096.
    """
    apart = _bounded_mean(jensen_shannon(logits, untrained_logits), 1.0)
    return Estimate(1 - apart.value, 1 - apart.high, 1 - apart.low, apart.n, apart.interval)


def l2_of_probabilities(logits: Array, reference_logits: Array) -> np.ndarray:
    """Return the Euclidean distance of the two softmaxes for each sample (N,), 0 to sqrt(2)."""
    return _by_block(lambda a, b: np.linalg.norm(np.exp(a) - np.exp(b), axis=1), logits, reference_logits)


def agreement(logits: Array, reference_logits: Array) -> Estimate:
    """Return the share of samples on which both models predict the same class, in 0..1, with its exact interval."""
    model, reference = _pair(logits, reference_logits)
    same = model.argmax(axis=1) == reference.argmax(axis=1)
    return clopper_pearson(int(same.sum()), len(same))


def completeness(
    logits: Array, reference_logits: Array, *, prediction: Literal["argmax", "threshold"] = "argmax"
) -> Estimate:
    """Return the Jaccard overlap of both models' sets of (sample, predicted label) pairs, in 0..1; raise toward 1.

    With `argmax` it is a / (2 - a) for agreement a; `threshold` takes logits (N, L) and predicts each label above 0.
    Raise ValueError where neither model predicts anything. Sources: Cao and Yang 2015; Nguyen et al. 2022, arXiv
    2209.02299.
    """
    if prediction == "argmax":
        a = agreement(logits, reference_logits)
        value, low, high = (x / (2 - x) for x in a[:3])
        return Estimate(value, low, high, a.n, a.interval)
    if prediction != "threshold":
        raise ValueError(f"unknown prediction {prediction!r} (allowed: argmax, threshold)")
    model, reference = (part > 0 for part in _pair(logits, reference_logits, min_columns=1))
    union = int((model | reference).sum())
    if union == 0:
        raise ValueError("neither model predicts any label, so the overlap is 0 / 0")
    overlap, n = int((model & reference).sum()) / union, len(model)
    # ratio of means over samples: delta method
    residuals = (model & reference).sum(axis=1) - overlap * (model | reference).sum(axis=1)
    half = 1.96 * float(np.sqrt(residuals @ residuals / (n * max(n - 1, 1)))) * n / union
    if half == 0:
        exact = clopper_pearson(overlap * n, n)
        return exact._replace(interval=f"{exact.interval}: no spread seen")
    return Estimate(overlap, max(0.0, overlap - half), min(1.0, overlap + half), n, "delta")


@metric(
    source="Chundawat et al. 2023, arXiv 2205.08096",
    direction="lower",
    low=0,
    high=1,
    splits=_SPLITS,
    cost=_COST_EACH,
    caution=(
        "Damage and memory are alike to it: 0.17 on forget for the digits' originals, 0.40 for poisoned models. Softer "
        "logits move it too (divided by 3: 0.20)."
    ),
    released=(
        "The authors' code differs as at `zrf`: 0.051 instead of 0.172 on forget for the digits' originals, 0.012 "
        "instead of 0.070 among retrained models."
    ),
)
def js_to_retrained(logits: Array, retrained_logits: Array) -> Estimate:
    """Return the mean Jensen-Shannon divergence to a retrained model in bits, 0..1; the floor is theirs mutually."""
    return _bounded_mean(jensen_shannon(logits, retrained_logits), 1.0)


@metric(
    source="Chundawat et al. 2023, arXiv 2205.08096",
    direction="match",
    low=0,
    high=1,
    splits=_SPLITS,
    cost=_COST,
    caution=(
        "Any change counts as forgetting: dividing the digits' originals' logits by 3 gives 0.13 on forget, where "
        "retrained models have 0.17."
    ),
    released="As at `js_to_retrained`: 0.051 instead of 0.172 on forget for the digits' retrained models.",
)
def js_to_original(logits: Array, original_logits: Array) -> Estimate:
    """Return the mean Jensen-Shannon divergence to the original in bits, 0..1; match the retrained models' own."""
    return _bounded_mean(jensen_shannon(logits, original_logits), 1.0)


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
    released="Losses of released methods average over classes too: a tenth of this at 10 classes, 1 / 200 at 200.",
)
def kl_to_retrained(logits: Array, retrained_logits: Array) -> Estimate:
    """Return the mean of KL(retrained || model) in nats; a few confident mistakes dominate it, see js_to_retrained."""
    return _bounded_mean(kl(logits, retrained_logits), math.inf)


@metric(
    source="Kullback and Leibler 1951; loss of arXiv 2302.09880",
    direction="match",
    low=0,
    splits=_SPLITS,
    cost=_COST,
    caution=(
        "Damage passes for forgetting: on forget the digits' poisoned models reach 1.10, retrained ones 1.36. One of "
        "120 samples wrong by 20 nats adds 0.13."
    ),
    released="As at `kl_to_retrained`.",
)
def kl_to_original(logits: Array, original_logits: Array) -> Estimate:
    """Return the mean of KL(original || model) in nats; match the retrained models' own."""
    return _bounded_mean(kl(logits, original_logits), math.inf)


@metric(
    source="churn of Milani Fard et al. 2016; Jagielski et al. 2022",
    direction="raise",
    low=0,
    high=1,
    splits=_SPLITS,
    cost="samples * classes comparisons, for each retrained model",
    caution=(
        "Blind to confidence, and coarse: on forget the digits' originals agree in 0.82, retrained models among "
        "themselves in 0.91, 11 of 120 samples apart."
    ),
)
def agreement_to_retrained(logits: Array, retrained_logits: Array) -> Estimate:
    """Return the share of samples predicted as by a retrained model, in 0..1; the ceiling is theirs with each other."""
    return agreement(logits, retrained_logits)


@metric(
    source="Golatkar et al. 2021, arXiv 2012.13431",
    direction="lower",
    low=0,
    high=math.sqrt(2),
    splits=_SPLITS,
    cost=_COST_EACH,
    caution=(
        "It reads outputs, whatever the name says, and follows their softness: dividing the logits by 3 takes the "
        "digits' originals from 0.27 to 0.36 on forget, with nothing learned or forgotten."
    ),
)
def activation_distance(logits: Array, retrained_logits: Array) -> Estimate:
    """Return the mean Euclidean distance of softmax outputs to a retrained model's, 0 to sqrt(2); lower is better."""
    return _bounded_mean(l2_of_probabilities(logits, retrained_logits), math.sqrt(2))


def _bounded_mean(values: np.ndarray, high: float) -> Estimate:
    estimate = mean_interval(values)
    return estimate._replace(low=max(0.0, estimate.low), high=min(high, estimate.high)) if estimate.n > 1 else estimate


def _pair(logits: Array, reference_logits: Array, min_columns: int = 2) -> tuple[np.ndarray, np.ndarray]:
    model = as_array(logits, name="logits", finite=True, dtype=None)
    reference = as_array(reference_logits, name="reference logits", finite=True, dtype=None)
    if model.ndim != 2 or model.shape != reference.shape:
        raise ValueError(
            f"two models' logits (N, C) of the same samples are needed, got {model.shape} and {reference.shape}"
        )
    if not len(model) or model.shape[1] < min_columns:
        raise ValueError(f"logits need a sample and {min_columns} or more classes, got shape {model.shape}")
    return model, reference


def _by_block(
    compare: Callable[[np.ndarray, np.ndarray], np.ndarray], logits: Array, reference_logits: Array
) -> np.ndarray:
    model, reference = _pair(logits, reference_logits)
    blocks = row_blocks(model.shape)
    return np.concatenate([compare(log_softmax(model[rows]), log_softmax(reference[rows])) for rows in blocks])


def _kl(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    # rounding leaves -1e-17 for equal rows
    return np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0)


def _jensen_shannon(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    middle = np.logaddexp(log_p, log_q) - math.log(2)
    return np.minimum((_kl(log_p, middle) + _kl(log_q, middle)) / (2 * math.log(2)), 1)
