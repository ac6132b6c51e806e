"""The learning-rate schedule and the weight mask of an unlearning task."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from raybench import activity
from raybench.engine.optimization import OptimizerSettings, changes_per_step, lr_factor, set_learning_rate
from raybench.errors import UserError


class Schedule:
    """Set the learning rates of the registered optimizers, per epoch or per step."""

    def __init__(self, settings: OptimizerSettings) -> None:
        self._settings = settings
        self._per_step = changes_per_step(settings)
        self._optimizers: list[tuple[torch.optim.Optimizer, float]] = []
        self._epochs = 0
        self._steps = 0.0  # of all epochs; 0 while no per-step schedule runs
        self._completed = 0

    def add(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """Register an optimizer and its base learning rate."""
        self._optimizers.append((optimizer, lr))

    def start(self, *, epochs: int, steps: float | None) -> None:
        """Begin `epochs` epochs of `steps` optimizer steps each."""
        if not self._per_step:
            return
        if steps is None:
            raise UserError(
                f"schedule {self._settings.schedule!r} needs task.epochs(..., steps=<optimizer steps per epoch>)"
            )
        self._epochs, self._steps, self._completed = epochs, epochs * steps, 0
        self._set_at_step()

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Update the learning rates at the start of an epoch, under a schedule that changes them per epoch."""
        activity.begin_epoch(epoch, epochs)
        if self._settings.schedule != "constant" and not self._per_step:
            self._set(lr_factor(self._settings, epoch=epoch, epochs=epochs, progress=epoch / epochs))

    def after_step(self) -> None:
        """Update the learning rates after an optimizer step, under a schedule that changes them per step."""
        if self._steps:
            self._completed += 1
            self._set_at_step()

    def end(self) -> None:
        """End the epochs; the learning rates stay as they are."""
        self._steps = 0.0

    def _set_at_step(self) -> None:
        progress = min(1.0, self._completed / self._steps)
        epoch = self._completed * self._epochs / self._steps
        self._set(lr_factor(self._settings, epoch=epoch, epochs=self._epochs, progress=progress))

    def _set(self, factor: float) -> None:
        for optimizer, lr in self._optimizers:
            set_learning_rate(optimizer, lr * factor)


class Mask:
    """Restrict updates to the weights where `free` is true, whatever the optimizer does.

    A gradient mask alone is not enough: weight decay and momentum still change the masked weights, which is a bug of
    the released saliency methods (`gradient_only` reproduces it).
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
