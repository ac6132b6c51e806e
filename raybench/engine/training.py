"""The one supervised loop: a recipe and a split in, a trained model out.

Original, retrained and the `retrain` method share it. Under several workers each takes its share of every epoch's order
and gradients are averaged by DDP; the caller wraps the model, the loop is the same. All randomness of an epoch comes
from (seed, epoch, rank), so a run that is killed and goes on from a checkpoint ends in the same weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from raybench.data.reading.batches import Split, iterate, seed_for
from raybench.data.transforms.augment import Augment, Name
from raybench.engine.devices import Precision, autocast, resolve_precision
from raybench.engine.losses import supervised
from raybench.errors import UserError, attach_key
from raybench.models import num_outputs

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]


class Recipe(BaseModel):
    """How a model is trained.

    `accumulate`: batches whose mean gradient makes one step. `momentum` is the first beta of Adam and AdamW. `schedule`
    follows `warmup_epochs`, which rise linearly from `warmup_start` times the rate. `class_weights: inverse` weighs a
    sample by n / (samples of its class), counted in the training set, and divides by the sum of a batch's weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Positive = 30
    batch_size: Positive = 64
    accumulate: Positive = 1
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 5e-4
    schedule: Literal["constant", "step", "cosine", "one_cycle"] = "cosine"
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = [0.5, 0.75]
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup_epochs: NonNegative = 0
    warmup_start: Annotated[float, Field(ge=0, lt=1)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0
    class_weights: Literal["none", "inverse"] = "none"
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    augment: list[Name] = []
    precision: Precision = "fp32"
    channels_last: bool = False

    @model_validator(mode="after")
    def _augmentations_go_together(self) -> "Recipe":
        with attach_key("train", "augment"):
            Augment.parse(self.augment)
        return self

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "Recipe":
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            with attach_key("train", "nesterov"):
                raise UserError("nesterov needs optimizer sgd and a momentum above 0")
        return self

    def check_labels(self, ndim: int) -> None:
        """Refuse labels (N, L), of 2 dimensions, where the recipe needs one class per sample."""
        if self.class_weights != "none" and ndim != 1:
            raise UserError(
                f"train.class_weights: {self.class_weights} needs one class per sample, and the data have several "
                "labels (allowed: none)"
            )

    def num_steps(self, samples: int) -> int:
        """Return how many optimizer steps one epoch over that many samples has."""
        return math.ceil(math.ceil(samples / self.batch_size) / self.accumulate)


@dataclass
class Progress:
    """Where a training stands after an epoch: what a checkpoint holds, and what the curves show."""

    epoch: int
    loss: float
    lr: float
    optimizer: torch.optim.Optimizer


def lr_factor(recipe: Recipe, epoch: float) -> float:
    """Return the share of the base learning rate at a (fractional) epoch.

    Warm-up is linear from `warmup_start`; `step` multiplies by `gamma` at each milestone (fractions of all epochs);
    `cosine` ends at 0; `one_cycle` rises from 1/25 to 1 over the first 30 % and falls to 0 (Smith and Topin 2018, arXiv
    1708.07120).
    """
    if epoch < recipe.warmup_epochs:
        return recipe.warmup_start + (1 - recipe.warmup_start) * epoch / recipe.warmup_epochs
    span = recipe.epochs - recipe.warmup_epochs
    share = min(1.0, (epoch - recipe.warmup_epochs) / span) if span > 0 else 1.0
    if recipe.schedule == "step":
        return recipe.gamma ** sum(epoch >= milestone * recipe.epochs for milestone in recipe.milestones)
    if recipe.schedule == "cosine":
        return (1 + math.cos(math.pi * share)) / 2
    if recipe.schedule == "one_cycle":
        if share < 0.3:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * share / 0.3)) / 2
        return (1 + math.cos(math.pi * (share - 0.3) / 0.7)) / 2
    return 1.0


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over all parameters."""
    if recipe.optimizer != "sgd":
        kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
        betas = (recipe.momentum, 0.999)
        return kind(model.parameters(), recipe.lr, betas=betas, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        model.parameters(),
        recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


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
) -> None:
    """Train the model in place.

    Args:
        model: on its device; already wrapped in DDP when `world_size` > 1.
        checkpoint: {"optimizer": state dict, "epoch": last finished one} to go on from; the caller loads the weights.
        on_epoch: called after every epoch with the mean training loss of this worker.

    `recipe.batch_size` is the global batch: each of `world_size` workers takes its share.
    """
    device = next(model.parameters()).device
    precision = resolve_precision(recipe.precision, device)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, recipe)
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
    with autocast("fp32", device):  # a method may run in another precision; even its backward passes would take it on
        for epoch in range(first, recipe.epochs):
            model.train()
            torch.manual_seed(seed_for("train", seed, epoch, rank))  # dropout and stochastic depth draw from it
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
                lr = recipe.lr * lr_factor(recipe, epoch + step / steps)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                with autocast(precision, device):
                    logits = model(x)
                loss = _loss(logits.float() if precision == "bf16" else logits, y, recipe.label_smoothing, weights)
                if step % recipe.accumulate == 0:
                    optimizer.zero_grad(set_to_none=True)
                gathered = min(recipe.accumulate, steps - step // recipe.accumulate * recipe.accumulate)
                (loss if gathered == 1 else loss / gathered).backward()
                if (step + 1) % recipe.accumulate == 0 or step + 1 == steps:
                    if recipe.clip_norm is not None:
                        nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
                    optimizer.step()
                total += loss.detach()
            if on_epoch is not None:
                on_epoch(Progress(epoch, float(total) / steps, lr, optimizer))


def inverse_frequencies(labels: Tensor, num_classes: int) -> Tensor:
    """Return n / count of every class (C,) among labels (n,), 0 for a class of which there is no sample."""
    counts = torch.bincount(labels, minlength=num_classes).float()
    return torch.where(counts > 0, len(labels) / counts.clamp(min=1), counts)


def _loss(logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    if smoothing == 0 and weights is None:
        return supervised(logits, targets)
    if targets.ndim == 1:
        return nn.functional.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)
    return supervised(logits, targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2)
