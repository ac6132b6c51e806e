"""Supervised training: a recipe and a split in, a trained model out.

The original, the retrained models and the `retrain` method share this loop. With several workers each one takes its
part of every epoch's order and DDP averages the gradients; the caller wraps the model, the loop is the same. All
randomness of an epoch is drawn from (seed, epoch, rank), so a run that resumes from a checkpoint ends with the same
weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from raybench import activity
from raybench.data.reading.batches import Split, iterate, seed_for
from raybench.data.transforms.augment import Augment, Name
from raybench.engine.devices import Precision, autocast, resolve_precision
from raybench.engine.losses import supervised
from raybench.engine.optimization import (
    Milestone,
    OptimizerSettings,
    ScheduleName,
    build_optimizer,
    lr_factor,
    set_learning_rate,
)
from raybench.errors import UserError, attach_key
from raybench.models import num_outputs


class Recipe(OptimizerSettings):
    """How a model is trained."""

    epochs: int = Field(default=30, ge=1, description="passes over the training set")
    accumulate: int = Field(
        default=1, ge=1, description="batches per optimizer step; the step uses the mean of their gradients"
    )
    lr: float = Field(default=0.1, gt=0, description="base learning rate, which warm-up and schedule multiply")
    schedule: ScheduleName = Field(default="cosine", description=OptimizerSettings.model_fields["schedule"].description)
    milestones: tuple[Milestone, ...] = Field(
        default=(0.5, 0.75), description=OptimizerSettings.model_fields["milestones"].description
    )
    warmup_epochs: float = Field(
        default=0, ge=0, description="epochs (fractions allowed) over which the learning rate rises linearly"
    )
    warmup_start: float = Field(
        default=0, ge=0, lt=1, description="fraction of the base learning rate at which the warm-up starts"
    )
    label_smoothing: float = Field(
        default=0, ge=0, lt=1, description="weight of the uniform distribution in the target; 0: hard labels"
    )
    class_weights: Literal["none", "inverse"] = Field(
        default="none",
        description="inverse: weight each sample by n / (samples of its class in the training set), normalized by the "
        "sum of weights in the batch",
    )
    augment: list[Name] = Field(default=[], description="training augmentations, applied together")
    precision: Precision = Field(
        default="fp32", description="arithmetic of the forward pass; auto: bf16 where the hardware supports it"
    )
    channels_last: bool = Field(
        default=False, description="channels-last memory format, faster for convolutions on recent hardware"
    )

    @model_validator(mode="after")
    def _augmentations_are_compatible(self) -> "Recipe":
        with attach_key("train", "augment"):
            Augment.parse(self.augment)
        return self

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "Recipe":
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            with attach_key("train", "nesterov"):
                raise UserError("nesterov needs optimizer sgd and momentum greater than 0")
        return self

    def check_labels(self, ndim: int) -> None:
        """Raise UserError for labels of `ndim` 2, (N, L), if the recipe needs one class per sample."""
        if self.class_weights != "none" and ndim != 1:
            raise UserError(
                f"train.class_weights: {self.class_weights} needs one class per sample, but the data are "
                "multi-label (allowed: none)"
            )

    def num_steps(self, samples: int) -> int:
        """Return the number of optimizer steps in one epoch over that many samples."""
        return math.ceil(math.ceil(samples / self.batch_size) / self.accumulate)

    def learning_rate(self, epoch: float) -> float:
        """Return the learning rate at a (fractional) epoch: linear warm-up from `warmup_start`, then the schedule."""
        if epoch < self.warmup_epochs:
            factor = self.warmup_start + (1 - self.warmup_start) * epoch / self.warmup_epochs
        else:
            span = self.epochs - self.warmup_epochs
            progress = min(1.0, (epoch - self.warmup_epochs) / span) if span > 0 else 1.0
            factor = lr_factor(
                self, epoch=epoch, epochs=self.epochs, progress=progress, warmup_epochs=self.warmup_epochs
            )
        return self.lr * factor


@dataclass
class Progress:
    """State of a training after an epoch: what checkpoints and training curves are written from."""

    epoch: int
    loss: float
    lr: float
    optimizer: torch.optim.Optimizer


def train(
    model: nn.Module,
    split: Split,
    recipe: Recipe,
    *,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    checkpoint: dict[str, Any] | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
    counted: bool = False,
) -> None:
    """Train the model in place.

    Args:
        model: on its device; already wrapped in DDP when `world_size` > 1.
        recipe: `batch_size` is the global batch size, divided among the `world_size` workers.
        checkpoint: {"optimizer": state dict, "epoch": last completed epoch} to resume from; the caller loads the
            weights.
        on_epoch: called after every epoch; the loss is the mean training loss of this worker.
        counted: whether the caller counts the forward passes, for the images per second that are displayed.
    """
    device = next(model.parameters()).device
    precision = resolve_precision(recipe.precision, device)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(recipe, model.parameters(), lr=recipe.lr)
    first = 0
    if checkpoint is not None:
        optimizer.load_state_dict(checkpoint["optimizer"])
        first = int(checkpoint["epoch"]) + 1
    batch_size = max(1, recipe.batch_size // world_size)
    steps = math.ceil(math.ceil(len(split) / world_size) / batch_size)
    parameters = list(model.parameters())
    weights = None
    if recipe.class_weights == "inverse":
        recipe.check_labels(split.labels.ndim)
        weights = inverse_frequencies(split.labels, num_outputs(model))
    with autocast("fp32", device):  # a method may run in bf16; the backward passes here would inherit it
        for epoch in range(first, recipe.epochs):
            activity.begin_epoch(epoch, recipe.epochs)
            model.train()
            torch.manual_seed(seed_for("train", seed, epoch, rank))  # seeds dropout and stochastic depth
            total = torch.zeros((), device=device)
            batches = iterate(
                split,
                batch_size=batch_size,
                seed=seed_for("train", seed),
                epoch=epoch,
                rank=rank,
                world_size=world_size,
            )
            for step, (x, y) in enumerate(batches):
                lr = recipe.learning_rate(epoch + step / steps)
                set_learning_rate(optimizer, lr)
                with autocast(precision, device):
                    logits = model(x)
                loss = _loss(logits.float() if precision == "bf16" else logits, y, recipe.label_smoothing, weights)
                if step % recipe.accumulate == 0:
                    optimizer.zero_grad(set_to_none=True)
                gathered = min(recipe.accumulate, steps - step // recipe.accumulate * recipe.accumulate)
                torch.autograd.backward(loss if gathered == 1 else loss / gathered)
                if (step + 1) % recipe.accumulate == 0 or step + 1 == steps:
                    if recipe.clip_norm is not None:
                        nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
                    optimizer.step()
                total += loss.detach()
                done = (epoch + (step + 1) / steps) / recipe.epochs
                activity.advance(0 if counted else len(x) * world_size, loss=loss.detach(), done=done)
            if on_epoch is not None:
                on_epoch(Progress(epoch, float(total) / steps, lr, optimizer))


def inverse_frequencies(labels: Tensor, num_classes: int) -> Tensor:
    """Return n / count for every class (C,) among labels (n,); 0 for a class without samples."""
    counts = torch.bincount(labels, minlength=num_classes).float()
    return torch.where(counts > 0, len(labels) / counts.clamp(min=1), counts)


def _loss(logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    if smoothing == 0 and weights is None:
        return supervised(logits, targets)
    if targets.ndim == 1:
        return nn.functional.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)
    return supervised(logits, targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2)
