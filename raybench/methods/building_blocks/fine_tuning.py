"""Plain training passes: over the retain set to repair a model, over the forget set to relabel or to overfit it."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from raybench.methods.framework.task import Batch, UnlearningTask


def train_pass(
    task: UnlearningTask, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]
) -> None:
    """Take one optimizer step on the task loss of every batch."""
    for x, y in batches:
        task.step(optimizer, task.loss(task.model(x), y))


def fine_tune(task: UnlearningTask, *, lr: float, epochs: int, parameters: list[nn.Parameter] | None = None) -> None:
    """Train the model, or the given parameters of it, on the retain set with a new optimizer."""
    optimizer = task.optimizer(lr, parameters=parameters)
    for _ in task.epochs(epochs, steps=task.num_batches("retain")):
        train_pass(task, optimizer, task.retain())


def overfit(
    task: UnlearningTask, batches: Callable[[], Iterable[Batch]], *, lr: float, epochs: int
) -> dict[str, nn.Parameter]:
    """Train a copy of the model on the batches alone and return its parameters; the ledger counts the passes."""
    copied = task.copy_of_model()
    optimizer = task.optimizer(lr, parameters=list(copied.parameters()))
    for _ in range(epochs):
        for x, y in batches():
            task.step(optimizer, task.loss(copied(x), y))
    return dict(copied.named_parameters())
