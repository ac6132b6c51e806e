"""Supervised training: a recipe and a split in, a trained model out.

The original, the retrained models and the `retrain` method share this loop. With several workers each one computes its
part of every global batch and DDP averages the gradients, weighted so that each sample counts once; the caller wraps
the model, the loop is the same. All randomness is drawn from (seed, epoch), or is part of a checkpoint, so a run that
resumes, also within an epoch, ends with the same weights.
"""

import math
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor, nn

from raybench import activity
from raybench.data.reading.batches import Split, iterate, seed_for
from raybench.data.transforms.augment import Augment, Name
from raybench.engine.averaging import WeightAverage
from raybench.engine.data_wait import DataWait
from raybench.engine.devices import Precision, autocast, resolve_precision
from raybench.engine.optimization import (
    Milestone,
    OptimizerSettings,
    ScheduleName,
    build_optimizer,
    lr_factor,
    set_learning_rate,
)
from raybench.engine.random_state import random_state, set_random_state
from raybench.engine.sharing import Share, exchange, inverse_frequencies
from raybench.engine.synchronized import set_own_rows
from raybench.errors import UserError, attach_key
from raybench.models import num_outputs


class Recipe(OptimizerSettings):
    """How a model is trained."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("ema",)  # left out of keys and records where unset, which stay as they were

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
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay per optimizer step of an exponential moving average of the weights, for example 0.9999 "
        "(smaller in the first steps); the averaged weights are the trained model: they are stored and evaluated, also "
        "after each epoch. None: no average",
    )

    @model_serializer(mode="wrap")
    def _without_unset_options(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        unset = {name for name in self.OPTIONS if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in content.items() if name not in unset}

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
    """State of a training after an epoch: what training curves are written from."""

    epoch: int
    loss: float  # mean over the batches of all workers
    lr: float
    optimizer: torch.optim.Optimizer
    data_wait: float  # fraction of the epoch in which the loop waited for its next batch, mean over the workers


def train(
    model: nn.Module,
    split: Split,
    recipe: Recipe,
    *,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    mean: Callable[[Tensor], Tensor] | None = None,
    checkpoint: dict[str, Any] | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
    save_seconds: float = math.inf,
    counted: bool = False,
) -> None:
    """Train the model in place.

    Args:
        model: on its device; already wrapped in DDP when `world_size` > 1.
        recipe: `batch_size` is the global batch size, divided among the `world_size` workers.
        mean: returns the mean of a tensor over the workers; needed when `world_size` > 1.
        checkpoint: what `save` got, to resume from; the caller loads the weights.
        on_epoch: called after every epoch, with the averaged weights in the model if the recipe has `ema`.
        save: called with a checkpoint, to which the caller adds the current weights: after every epoch, and within an
            epoch after the optimizer step that completes `save_seconds` since the last one.
        counted: whether the caller counts the forward passes, for the images per second that are displayed.
    """
    device = next(model.parameters()).device
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    loop = _Loop(model, split, recipe, seed, rank, world_size, mean or (lambda value: value), counted)
    first, partial = 0, None
    if checkpoint is not None:
        first, partial = loop.resume(checkpoint)
    loop.save, loop.save_seconds = save, save_seconds
    with autocast("fp32", device):  # a method may run in bf16; the backward passes here would inherit it
        for epoch in range(first, recipe.epochs):
            activity.begin_epoch(epoch, recipe.epochs)
            progress = loop.run_epoch(epoch, partial)
            partial = None
            if on_epoch is not None:
                with loop.average.applied() if loop.average is not None else nullcontext():
                    on_epoch(progress)
            loop.save_after(epoch)
    if loop.average is not None:
        loop.average.apply()


class _Loop:
    """The state of one training."""

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        recipe: Recipe,
        seed: int,
        rank: int,
        world_size: int,
        mean: Callable[[Tensor], Tensor],
        counted: bool,
    ) -> None:
        self.model, self.split, self.recipe, self.mean, self.counted = model, split, recipe, mean, counted
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.device = next(model.parameters()).device
        self.precision = resolve_precision(recipe.precision, self.device)
        self.parameters = list(model.parameters())
        self.optimizer = build_optimizer(recipe, self.parameters, lr=recipe.lr)
        self.average = None if recipe.ema is None else WeightAverage(model, recipe.ema)
        self.steps = math.ceil(len(split) / recipe.batch_size)  # batches per epoch
        self.weights: Tensor | None = None
        if recipe.class_weights == "inverse":
            recipe.check_labels(split.labels.ndim)
            self.weights = inverse_frequencies(split.labels, num_outputs(model))
        self.save: Callable[[dict[str, Any]], None] | None = None
        self.save_seconds = math.inf
        self.last_saved = time.monotonic()

    def resume(self, checkpoint: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        """Return the epoch to continue with, and the state within it if it has begun."""
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(checkpoint["average"])
        return int(checkpoint["epoch"]) + 1, checkpoint.get("partial")

    def save_after(self, epoch: int, **partial: Any) -> None:
        """Save a checkpoint: `epoch` is the last completed one, `partial` the state within the next."""
        if self.save is not None:
            state = {"optimizer": self.optimizer.state_dict(), "epoch": epoch}
            state |= {"average": self.average.state_dict()} if self.average is not None else {}
            self.save({**state, "partial": partial} if partial else state)
            self.last_saved = time.monotonic()

    def run_epoch(self, epoch: int, partial: dict[str, Any] | None) -> Progress:
        """Train one epoch, or what is left of it."""
        recipe, steps, order = self.recipe, self.steps, seed_for("train", self.seed)
        self.model.train()
        torch.manual_seed(seed_for("train", self.seed, epoch, self.rank))  # seeds dropout and stochastic depth
        total, start, wait, lr = torch.zeros((), device=self.device), 0, DataWait(self.device), 0.0
        if partial is not None:
            total, start = partial["total"].to(self.device), int(partial["steps"])
            wait = DataWait(self.device, waited=partial["waited"], seconds=partial["seconds"])
            set_random_state(partial["random"], self.device)
        share = Share(self.split, recipe.batch_size, order, epoch, self.rank, self.world_size, self.weights)
        batches = iterate(
            self.split,
            batch_size=recipe.batch_size,
            seed=order,
            epoch=epoch,
            rank=self.rank,
            world_size=self.world_size,
            first=start,
        )
        with closing(batches):
            for step, (x, y) in enumerate(wait.over(batches), start):
                lr = recipe.learning_rate(epoch + step / steps)
                set_learning_rate(self.optimizer, lr)
                loss, updated = self.run_step(share, step, x, y)
                total += loss
                done = (epoch + (step + 1) / steps) / recipe.epochs
                samples = 0 if self.counted else len(x) * self.world_size
                activity.advance(samples, loss=loss, done=done, data_wait=wait.fraction)
                is_due = updated and time.monotonic() - self.last_saved >= self.save_seconds
                if is_due and step + 1 < steps:
                    wait.stop()
                    state = {"steps": step + 1, "total": total, "random": random_state(self.device)}
                    self.save_after(epoch - 1, **state, waited=wait.waited, seconds=wait.seconds)
        waited = self.mean(torch.tensor(wait.fraction, device=self.device))
        return Progress(epoch, float(total) / steps, lr, self.optimizer, float(waited))

    def run_step(self, share: Share, step: int, x: Tensor, y: Tensor) -> tuple[Tensor, bool]:
        """Compute a batch, and update the weights if it completes a step; return its loss and whether it did."""
        recipe, model = self.recipe, self.model
        group = step // recipe.accumulate * recipe.accumulate  # the first batch of this optimizer step
        gathered = min(recipe.accumulate, self.steps - group)
        last = step + 1 == group + gathered
        if self.world_size > 1:
            # a function of the step: a checkpoint holds the random state of one worker only
            torch.manual_seed(seed_for("train", self.seed, share.epoch, step, self.rank))
            set_own_rows(model, share.own(step), len(x))
        with exchange(model, now=last):
            with autocast(self.precision, self.device):
                logits = model(x)
            loss = share.loss(step, logits.float() if self.precision == "bf16" else logits, y, recipe.label_smoothing)
            if step == group:
                self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss if gathered == 1 else loss / gathered)
        if last:
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.parameters, recipe.clip_norm)
            self.optimizer.step()
            if self.average is not None:
                self.average.update()
        return self.mean(loss.detach()), last
