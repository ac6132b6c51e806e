"""Relearn time: how long a model must train on the forget set alone to classify it as well as the original.

A model that only appears to have forgotten relearns in a few steps. One that needs fewer steps than the retrained
models still holds information about the forget set. The probe uses the forget set and its labels, so it measures what
the weights keep, not what an attacker can extract. Relearn times are comparable only at the same learning rate and
batch size. References: Golatkar et al. 2020, arXiv 1911.04933 (relearn time); Tarun et al. 2021, arXiv 2111.08947;
Chundawat et al. 2023, arXiv 2201.05629 (anamnesis index).
"""

import copy
import math
from contextlib import suppress
from dataclasses import dataclass

from torch import nn

from raybench.data.reading.batches import Split
from raybench.engine.audit import measure
from raybench.engine.devices import Precision, resolve_precision
from raybench.engine.training import Progress, Recipe, train


@dataclass(frozen=True)
class Relearning:
    """The result of the probe; `curve` is the forget accuracy before training and after every epoch, from 0 to 1."""

    epochs: int
    samples: int  # forward and backward passes over single samples
    reached: bool
    curve: tuple[float, ...]


class _StopEarly(Exception):
    """Raised to end training once the accuracy is reached."""


def relearn(
    model: nn.Module,
    forget_split: Split,
    *,
    target_accuracy: float,
    lr: float = 0.01,
    batch_size: int = 64,
    max_epochs: int = 50,
    seed: int = 0,
    precision: Precision = "fp32",
    audit_batch_size: int = 512,
) -> Relearning:
    """Train a copy of the model on the forget set until its accuracy there is `target_accuracy`; count the epochs.

    SGD with momentum 0.9, a constant learning rate, no weight decay. BatchNorm is in training mode, so statistics that
    no longer fit the weights are replaced. Accuracy is measured between epochs: a model that starts above the target
    needs 0 epochs. Stops, not `reached`, when the loss is not finite. The model passed in is not changed.
    """
    device = next(model.parameters()).device
    arithmetic = resolve_precision(precision, device)
    copied = copy.deepcopy(model)

    def accuracy() -> float:
        return measure(copied, forget_split, batch_size=audit_batch_size, precision=arithmetic)[0]

    curve = [accuracy()]

    def on_epoch(progress: Progress) -> None:
        curve.append(accuracy())
        if curve[-1] >= target_accuracy or not math.isfinite(progress.loss):
            raise _StopEarly

    if curve[0] < target_accuracy:
        recipe = Recipe(
            epochs=max_epochs, batch_size=batch_size, lr=lr, weight_decay=0, schedule="constant", precision=precision
        )
        with suppress(_StopEarly):
            train(copied, forget_split, recipe, seed=seed, on_epoch=on_epoch)
    epochs = len(curve) - 1
    return Relearning(epochs, epochs * len(forget_split), curve[-1] >= target_accuracy, tuple(curve))
