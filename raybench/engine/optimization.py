"""Optimizers and learning-rate schedules: one vocabulary for `train:` and for the shared settings of `methods:`."""

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

Milestone = Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)]
"""When `step` cuts the learning rate: an epoch (whole number) or a fraction of all epochs (below 1)."""

ScheduleName = Literal["constant", "step", "cosine", "cosine_epoch", "one_cycle"]

ROUNDING = 1e-9  # epochs: 0.55 * 100 is 55.00000000000001, and epoch 55 has reached it all the same


class OptimizerSettings(BaseModel):
    """Settings of the optimizer and its learning-rate schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: int = Field(
        default=64, ge=1, description="samples per batch; with several workers, of all workers together"
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="sgd", description="update rule")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of SGD; first beta of Adam and AdamW")
    nesterov: bool = Field(default=False, description="use Nesterov momentum (SGD only)")
    weight_decay: float = Field(
        default=5e-4, ge=0, description="weight decay of all parameters, biases and norms included"
    )
    schedule: ScheduleName = Field(
        default="constant",
        description="learning-rate schedule: constant; step (cut at `milestones`); cosine to 0, updated per step or, "
        "as `cosine_epoch`, per epoch; one_cycle (rise from 1/25 over the first 30 %, then fall to 0, per step)",
    )
    milestones: tuple[Milestone, ...] = Field(
        default=(91, 136),
        description="when `step` cuts the learning rate: whole numbers are epochs, numbers below 1 are fractions of "
        "all epochs",
    )
    milestone_factor: float = Field(
        default=0.1, ge=0, le=1, description="what `step` multiplies the learning rate by at each milestone"
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="largest L2 norm of the gradient of one step; None: no clipping"
    )


def build_optimizer(
    settings: OptimizerSettings, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """Return the optimizer of the settings over the parameters; `weight_decay` replaces that of the settings."""
    decay = settings.weight_decay if weight_decay is None else weight_decay
    if settings.optimizer == "sgd":
        nesterov = settings.nesterov and settings.momentum > 0
        return torch.optim.SGD(parameters, lr, momentum=settings.momentum, weight_decay=decay, nesterov=nesterov)
    adam = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return adam(parameters, lr, betas=(settings.momentum, 0.999), weight_decay=decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def changes_per_step(settings: OptimizerSettings) -> bool:
    """Return whether the schedule changes the learning rate within an epoch."""
    if settings.schedule == "step":
        return any(0 < milestone < 1 for milestone in settings.milestones)
    return settings.schedule in ("cosine", "one_cycle")


def lr_factor(
    settings: OptimizerSettings, *, epoch: float, epochs: float, progress: float, warmup_epochs: float = 0
) -> float:
    """Return the factor of the base learning rate that the schedule gives at one moment of the training.

    `cosine` and `cosine_epoch` end at 0; `one_cycle` is that of Smith and Topin 2018, arXiv 1708.07120.

    Args:
        epoch: epochs completed; the fractional part is the completed fraction of the current epoch.
        epochs: epochs in all.
        progress: completed fraction of all steps after the warm-up, 0..1.
        warmup_epochs: epochs before the schedule starts; milestones are counted from the first epoch.
    """
    if settings.schedule == "step":
        return settings.milestone_factor ** sum(_is_reached(m, epoch, epochs) for m in settings.milestones)
    if settings.schedule == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    if settings.schedule == "cosine_epoch":
        completed = max(0, math.floor(epoch) - warmup_epochs)
        return (1 + math.cos(math.pi * completed / (epochs - warmup_epochs))) / 2
    if settings.schedule == "one_cycle":
        if progress < 0.3:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / 0.3)) / 2
        return (1 + math.cos(math.pi * (progress - 0.3) / 0.7)) / 2
    return 1.0


def _is_reached(milestone: float, epoch: float, epochs: float) -> bool:
    due = milestone * epochs if 0 < milestone < 1 else milestone
    return epoch >= due - ROUNDING
