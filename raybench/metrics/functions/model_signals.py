"""Signals of a population: from logits of several models on the same samples to (models, samples)."""

from collections.abc import Callable, Sequence

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, as_array
from raybench.metrics.functions import signals


def margins(logits: Array | Sequence[Array], labels: Array) -> Floats:
    """Compute the logit of the label minus the largest other, (models, samples), of (models, samples, classes)."""
    return _per_model(signals.margin, logits, labels)


def scaled_confidences(logits: Array | Sequence[Array], labels: Array) -> Floats:
    """Compute log(p / (1 - p)) of the label, (models, samples), of logits (models, samples, classes).

    At most the margin, and at least the margin - ln(classes - 1).
    """
    return _per_model(signals.scaled_confidence, logits, labels)


def as_population(values: Array, *, name: str, least: int = 2) -> Floats:
    """Return a finite signal (models, samples) in float64; raise ValueError for fewer than `least` models."""
    array = as_array(values, name=name, finite=True)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} must have shape (models, samples) and not be empty, got {array.shape}")
    if len(array) < least:
        raise ValueError(f"{name} has {len(array)} models: at least {least} are needed")
    return array


def as_populations(unlearned: Array, retrained: Array, *, least: int = 2) -> tuple[Floats, Floats]:
    """Return both signals (models, samples), on the same samples; the numbers of models may differ."""
    u = as_population(unlearned, name="unlearned", least=least)
    r = as_population(retrained, name="retrained", least=least)
    if u.shape[1] != r.shape[1]:
        raise ValueError(f"unlearned has {u.shape[1]} samples, retrained {r.shape[1]}")
    return u, r


def _per_model(signal: Callable[[Array, Array], Floats], logits: Array | Sequence[Array], labels: Array) -> Floats:
    # one model at a time: float64 copies of a whole population would be large
    models = [signal(of_model, labels) for of_model in logits]
    if not models:
        raise ValueError("a population needs at least one model")
    return np.stack(models)
