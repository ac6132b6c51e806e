"""Optimizers, learning rates and masks as the shared settings ask for them."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from raybench.errors import UserError
from raybench.methods.framework.spec import Settings


def build_optimizer(
    settings: Settings, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """Return the optimizer of the settings over the parameters; `weight_decay` replaces the shared one."""
    decay = settings.weight_decay if weight_decay is None else weight_decay
    if settings.optimizer == "sgd":
        nesterov = settings.nesterov and settings.momentum > 0
        return torch.optim.SGD(parameters, lr, momentum=settings.momentum, weight_decay=decay, nesterov=nesterov)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr, betas=(settings.momentum, 0.999), weight_decay=decay)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class Schedule:
    """Sets the learning rates of the optimizers it knows, per epoch or per step."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._optimizers: list[tuple[torch.optim.Optimizer, float]] = []
        self._steps_left: tuple[int, float] | None = None  # steps done and steps in all, while a per-step schedule runs

    def add(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        self._optimizers.append((optimizer, lr))

    def start(self, *, epochs: int, steps: float | None) -> None:
        """Begin a run of `epochs` of `steps` optimizer steps each."""
        if self._settings.schedule == "cosine_step":
            if steps is None:
                raise UserError("schedule 'cosine_step' needs task.epochs(..., steps=<optimizer steps per epoch>)")
            self._steps_left = 0, epochs * steps
            self._set(1.0)

    def start_epoch(self, epoch: int, epochs: int) -> None:
        if self._settings.schedule == "step":
            self._set(self._settings.milestone_factor ** sum(epoch >= m for m in self._settings.milestones))
        elif self._settings.schedule == "cosine":
            self._set((1 + math.cos(math.pi * epoch / epochs)) / 2)

    def after_step(self) -> None:
        if self._steps_left is not None:
            done, steps = self._steps_left[0] + 1, self._steps_left[1]
            self._steps_left = done, steps
            self._set((1 + math.cos(math.pi * min(1.0, done / steps))) / 2)

    def end(self) -> None:
        self._steps_left = None

    def _set(self, factor: float) -> None:
        for optimizer, lr in self._optimizers:
            set_rate(optimizer, lr * factor)


class Mask:
    """Keeps weights where they are, whatever the optimizer does; only those where `free` is true can change.

    A masked gradient alone is not enough: weight decay and momentum still move "frozen" weights, which is a fault of
    the released saliency methods (`gradient_only` does as they do).
    """

    def __init__(
        self, free: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter], *, gradient_only: bool
    ) -> None:
        self._parts = [
            (parameters[name], keep.to(parameters[name].device), parameters[name].detach().clone())
            for name, keep in free.items()
        ]
        self._gradient_only = gradient_only

    def before_step(self) -> None:
        for parameter, free, _ in self._parts:
            if parameter.grad is not None:
                parameter.grad.mul_(free)

    @torch.no_grad()
    def after_step(self) -> None:
        if not self._gradient_only:
            for parameter, free, anchor in self._parts:
                parameter.copy_(torch.where(free, parameter, anchor))
