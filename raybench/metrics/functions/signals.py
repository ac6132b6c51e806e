"""Signals of one sample that attacks read: loss, confidence, entropy, margin ... from logits, in float64.

Nothing is computed from rounded probabilities: log p and log(1 - p) come from log-sum-exp over the right classes, so
float32 logits of +-1e4 give finite numbers, and samples of confidence 1 - 1e-20 do not all tie at a loss of 0. With
multi-label labels (N, L) each label is a two-class problem and the signal is the mean over labels.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import expit, logsumexp

from raybench.metrics.framework.arrays import Array, Floats, Ints, as_array, as_logits_and_labels
from raybench.metrics.framework.row_wise import signal


@signal
def loss(logits: Array, labels: Array) -> Floats:
    """Compute the cross-entropy of each sample (N,) in nats, >= 0; multi-label: the mean binary cross-entropy."""
    return _per_sample(lambda z, y: np.logaddexp(0, -_log_odds(z, y)), logits, labels)


@signal
def confidence(logits: Array, labels: Array) -> Floats:
    """Compute the probability of the label (N,), in 0..1."""
    return _per_sample(lambda z, y: expit(_log_odds(z, y)), logits, labels)


@signal
def scaled_confidence(logits: Array, labels: Array) -> Floats:
    """Compute log(p / (1 - p)) of the label (N,), unbounded, nearly normal (Carlini et al. 2022, arXiv 2112.03570)."""
    return _per_sample(_log_odds, logits, labels)


@signal
def margin(logits: Array, labels: Array) -> Floats:
    """Compute the logit of the label minus the largest other (N,); negative where the prediction is wrong."""
    return _per_sample(lambda z, y: _true(z, y) - _others(z, y).max(axis=1), logits, labels)


@signal
def correctness(logits: Array, labels: Array) -> Floats:
    """Return 1 where the prediction is the label, else 0 (N,); multi-label: the fraction of correct labels."""
    scores, targets = as_logits_and_labels(logits, labels)
    if targets.ndim == 1:
        return np.asarray(scores.argmax(axis=1) == targets, dtype=np.float64)
    fractions: Floats = ((scores > 0) == (targets == 1)).mean(axis=1)
    return fractions


@signal
def entropy(logits: Array) -> Floats:
    """Compute the entropy of the softmax (N,), in 0..log C nats; it needs no label, so single-label logits only."""
    scores = as_array(logits, name="logits", finite=True)
    if scores.ndim != 2 or not scores.size:
        raise ValueError(f"logits must have shape (N, C) and not be empty, got {scores.shape}")
    log_p = scores - logsumexp(scores, axis=1, keepdims=True)
    values: Floats = np.abs(np.sum(np.exp(log_p) * log_p, axis=1))
    return values


@signal
def modified_entropy(logits: Array, labels: Array) -> Floats:
    """Compute -(1 - p_y) log p_y - sum over other classes of p log(1 - p), (N,): 0 for a certain correct prediction.

    Never negative. Reference: Song and Mittal 2021, arXiv 2003.10595, eq. 8. The SalUn family of repositories computes
    another signal under this name: it rewrites the columns of all classes that occur anywhere among the labels, and
    uses log p for log(1 - p), so with all classes present it is -sum (1 - p) log p, the same for every label of a
    sample.
    """
    return _per_sample(_modified_entropy, logits, labels)


SignalName = Literal["confidence", "correctness", "entropy", "loss", "margin", "modified_entropy", "scaled_confidence"]


SIGNALS: dict[str, Callable[..., Floats]] = {
    "confidence": confidence,
    "correctness": correctness,
    "entropy": lambda logits, labels: entropy(logits),
    "loss": loss,
    "margin": margin,
    "modified_entropy": modified_entropy,
    "scaled_confidence": scaled_confidence,
}


LOW_FOR_MEMBERS = ("entropy", "loss", "modified_entropy")


def named_signal(name: SignalName, logits: Array, labels: Array) -> Floats:
    """Compute the signal called `name`; raise ValueError for an unknown name, and for the entropy of labels (N, L)."""
    if name not in SIGNALS:
        raise ValueError(f"unknown signal {name!r} (allowed: {', '.join(SIGNALS)})")
    if name == "entropy" and np.ndim(labels) != 1:
        raise ValueError("the entropy needs one class per sample, labels (N,); these are multi-label")
    return SIGNALS[name](logits, labels)


def _per_sample(of_class: Callable[[Floats, Ints], Floats], logits: Array, labels: Array) -> Floats:
    scores, targets = as_logits_and_labels(logits, labels)
    if targets.ndim == 1:
        return of_class(scores, targets)
    pairs = np.stack([np.zeros(scores.size), scores.ravel()], axis=1)  # logits (0, z) have sigmoid(z) as softmax
    means: Floats = of_class(pairs, targets.ravel()).reshape(scores.shape).mean(axis=1)
    return means


def _true(z: Floats, y: Ints) -> Floats:
    return np.take_along_axis(z, y[:, None], axis=1)[:, 0]


def _others(z: Floats, y: Ints) -> Floats:
    others = z.copy()
    np.put_along_axis(others, y[:, None], -np.inf, axis=1)
    return others


def _log_odds(z: Floats, y: Ints) -> Floats:
    others: Floats = logsumexp(_others(z, y), axis=1)
    return _true(z, y) - others


def _modified_entropy(z: Floats, y: Ints) -> Floats:
    log_p = z - logsumexp(z, axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        log_rest = np.log1p(-np.exp(np.minimum(log_p, 0)))
    # only the largest class can have p > 1/2, where log1p(-p) loses all its digits
    top = z.argmax(axis=1)
    np.put_along_axis(log_rest, top[:, None], -np.logaddexp(0, _log_odds(z, top))[:, None], axis=1)
    terms = np.exp(log_p) * log_rest
    true = np.exp(_true(log_rest, y)) * _true(log_p, y)
    values: Floats = np.abs(true + terms.sum(axis=1) - _true(terms, y))
    return values
