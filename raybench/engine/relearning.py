"""Relearn time: how long a model trains on the forget set alone until it knows it as well as the original did.

What only looks forgotten is back after a few steps, so a model that needs fewer than the retrained ones still holds
something. The attacker has the forget set and its labels: this measures what the weights keep, not what leaks. Times
compare at one learning rate and batch size only. Sources: Golatkar et al. 2020, arXiv 1911.04933 (relearn time); Tarun
et al. 2021, arXiv 2111.08947; Chundawat et al. 2023, arXiv 2201.05629 (anamnesis index).
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
    """What the probe saw; `curve` is the accuracy on the forget set before training and after every epoch, 0..1."""

    epochs: int
    samples: int  # passes over a sample, forward and backward
    reached: bool
    curve: tuple[float, ...]


class _Over(Exception):
    """The probe has its answer before the last epoch."""


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
    """Train a copy of the model on the forget set until its accuracy there is `target_accuracy`, and count.

    SGD with momentum 0.9, a constant rate, no decay, BatchNorm as in training: a model whose statistics do not fit its
    weights any more gets new ones. Accuracy is looked at between epochs; 0 epochs where it is enough to begin with.
    Stops early, not `reached`, when the loss is no finite number. The given model stays as it is.
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
            raise _Over

    if curve[0] < target_accuracy:
        recipe = Recipe(
            epochs=max_epochs, batch_size=batch_size, lr=lr, weight_decay=0, schedule="constant", precision=precision
        )
        with suppress(_Over):
            train(copied, forget_split, recipe, seed=seed, on_epoch=on_epoch)
    epochs = len(curve) - 1
    return Relearning(epochs, epochs * len(forget_split), curve[-1] >= target_accuracy, tuple(curve))
