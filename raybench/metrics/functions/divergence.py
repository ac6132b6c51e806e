"""Distances between the softmax outputs or predictions of two models on the same samples.

Divergences are computed in float64 in log space, so logits of +-1e4 and probabilities that underflow give finite
values.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, as_array
from raybench.metrics.framework.row_wise import row_wise
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.accuracy import positive_labels, predicted_class
from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.functions.softmax import log_softmax, row_blocks


@row_wise
def jensen_shannon(logits: Array, reference_logits: Array) -> Floats:
    """Compute the Jensen-Shannon divergence of the two softmaxes of each sample (N,), in bits: 0 = equal, 1 = disjoint.

    Symmetric. Reference: Lin 1991. For what released unlearning code computes under this name, see `zrf`.
    """
    return _by_block(_jensen_shannon, logits, reference_logits)


@row_wise
def kl(logits: Array, reference_logits: Array, *, direction: Literal["from", "to"] = "from") -> Floats:
    """Compute KL(reference || model) of each sample (N,) in nats, 0 = equal; `to` gives KL(model || reference).

    `from` weights classes by their probability under the reference. The mean over batch and classes in released code is
    C times smaller.
    """
    if direction not in ("from", "to"):
        raise ValueError(f"direction must be 'from' or 'to' the reference, got {direction!r}")
    model, reference = (logits, reference_logits) if direction == "to" else (reference_logits, logits)
    return _by_block(_kl, model, reference)


@row_wise
def l2_of_probabilities(logits: Array, reference_logits: Array) -> Floats:
    """Compute the Euclidean distance of the two softmaxes of each sample (N,), in 0..sqrt(2)."""
    return _by_block(lambda a, b: np.linalg.norm(np.exp(a) - np.exp(b), axis=1), logits, reference_logits)


def agreement(logits: Array, reference_logits: Array) -> Estimate:
    """Compute the fraction of samples with the same predicted class, in 0..1; interval Clopper-Pearson."""
    _check_shapes(np.shape(logits), np.shape(reference_logits))
    same = predicted_class(logits) == predicted_class(reference_logits)
    return clopper_pearson(int(same.sum()), len(same))


def completeness(
    logits: Array, reference_logits: Array, *, prediction: Literal["argmax", "threshold"] = "argmax"
) -> Estimate:
    """Compute the Jaccard index of both models' sets of (sample, predicted label) pairs, in 0..1; higher is better.

    With `argmax` it is a / (2 - a) for agreement a; `threshold` takes logits (N, L) and predicts each label above 0.
    Raise ValueError where neither model predicts anything. References: Cao and Yang 2015; Nguyen et al. 2022, arXiv
    2209.02299.
    """
    if prediction == "argmax":
        a = agreement(logits, reference_logits)
        value, low, high = (x / (2 - x) for x in a[:3])
        return Estimate(value, low, high, a.n, a.interval)
    if prediction != "threshold":
        raise ValueError(f"unknown prediction {prediction!r} (allowed: argmax, threshold)")
    _check_shapes(np.shape(logits), np.shape(reference_logits), min_columns=1)
    model, reference = positive_labels(logits), positive_labels(reference_logits)
    union = int((model | reference).sum())
    if union == 0:
        raise ValueError("neither model predicts any label, so the overlap is 0 / 0")
    overlap, n = int((model & reference).sum()) / union, len(model)
    # ratio of means over samples: delta method
    residuals = (model & reference).sum(axis=1) - overlap * (model | reference).sum(axis=1)
    half_width = 1.96 * float(np.sqrt(residuals @ residuals / (n * max(n - 1, 1)))) * n / union
    if half_width == 0:
        exact = clopper_pearson(overlap * n, n)
        return exact._replace(interval=f"{exact.interval}: zero spread")
    return Estimate(overlap, max(0.0, overlap - half_width), min(1.0, overlap + half_width), n, "delta")


def _pair(logits: Array, reference_logits: Array) -> tuple[Floats, Floats]:
    model = as_array(logits, name="logits", finite=True, dtype=None)
    reference = as_array(reference_logits, name="reference logits", finite=True, dtype=None)
    _check_shapes(model.shape, reference.shape)
    return model, reference


def _check_shapes(model: tuple[int, ...], reference: tuple[int, ...], min_columns: int = 2) -> None:
    if len(model) != 2 or model != reference:
        raise ValueError(f"logits of both models must be (N, C) for the same samples, got {model} and {reference}")
    if not model[0] or model[1] < min_columns:
        raise ValueError(f"logits need a sample and {min_columns} or more classes, got shape {model}")


def _by_block(compare: Callable[[Floats, Floats], Floats], logits: Array, reference_logits: Array) -> Floats:
    model, reference = _pair(logits, reference_logits)
    blocks = row_blocks(model.shape)
    return np.concatenate([compare(log_softmax(model[rows]), log_softmax(reference[rows])) for rows in blocks])


def _kl(log_p: Floats, log_q: Floats) -> Floats:
    # rounding leaves -1e-17 for equal rows
    divergences: Floats = np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0)
    return divergences


def _jensen_shannon(log_p: Floats, log_q: Floats) -> Floats:
    middle = np.logaddexp(log_p, log_q) - math.log(2)
    return np.minimum((_kl(log_p, middle) + _kl(log_q, middle)) / (2 * math.log(2)), 1)
