"""Other labels for the forget set: random ones, or the original's most likely class other than the true one."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from raybench.errors import UserError
from raybench.methods.framework.task import Batch, UnlearningTask

ForgetLoss = Annotated[
    Literal["ascent", "pseudo_label", "random_label"],
    Field(description="loss of the forget pass: gradient ascent, pseudo-labels of the original, or random labels"),
]
ExcludeTrue = Annotated[bool, Field(description="never draw the true class as a random label")]


def random_labels(task: UnlearningTask, *, exclude_true: bool) -> Tensor:
    """Draw a label for every forget sample from the task's generator, uniform over the classes.

    Returns (N_f,) class ids, or (N_f, L) bits. With `exclude_true` a class differs from the true one, and every bit of
    a multi-label target is flipped, because that is its only other value.
    """
    true = task.forget_labels
    if task.multi_label:
        flipped = 1 - true
        return flipped if exclude_true else _draw(task, 2, true).to(true.dtype)
    if task.num_classes < 2:
        raise UserError("random labels need at least 2 classes")
    if not exclude_true:
        return _draw(task, task.num_classes, true)
    return (true + 1 + _draw(task, task.num_classes - 1, true)) % task.num_classes


def allowed_classes(task: UnlearningTask, labels: Tensor) -> Tensor:
    """Return (B, K), true for the classes that a forget sample may move to: those of the retain set but its own.

    If whole classes are forgotten, these are the retained classes; if single samples are, all but the true class.
    """
    present = torch.zeros(task.num_classes, dtype=torch.bool, device=task.device)
    present[task.retained_classes] = True
    allowed = present.expand(len(labels), -1).clone()
    return allowed.scatter_(1, labels[:, None], False)


def pseudo_labels(task: UnlearningTask, batch: Batch) -> Tensor:
    """Return the original's most likely allowed class for every sample of a forget batch, (B,)."""
    blocked = ~allowed_classes(task, batch[1])
    return task.teacher(batch).masked_fill(blocked, -torch.inf).argmax(dim=1)


def require_other_class(task: UnlearningTask) -> None:
    """Raise UserError if some forget sample has no other retained class to move to."""
    if task.multi_label:
        raise UserError("this option needs single-label targets: a label vector has no nearest other class")
    if not bool(allowed_classes(task, torch.unique(task.forget_labels)).any(dim=1).all()):
        raise UserError("the retain set contains no class other than that of a forget sample, which needs one")


def forget_losses(task: UnlearningTask, kind: ForgetLoss, *, exclude_true: bool = True) -> Iterator[Tensor]:
    """Yield the loss of every batch of one forget pass; random labels are redrawn for every pass."""
    labels = labels_for(task, kind, exclude_true=exclude_true)
    for batch in task.forget():
        yield forget_batch_loss(task, batch, kind, labels)


def labels_for(task: UnlearningTask, kind: ForgetLoss, *, exclude_true: bool) -> Tensor | None:
    """Return new random labels of the forget samples by position if this loss needs them."""
    return random_labels(task, exclude_true=exclude_true) if kind == "random_label" else None


def forget_batch_loss(task: UnlearningTask, batch: Batch, kind: ForgetLoss, labels: Tensor | None) -> Tensor:
    """Return the loss of one forget batch; `labels` replace the true ones by position."""
    x, y = batch
    logits = task.model(x)
    if kind == "pseudo_label":
        y = pseudo_labels(task, batch)
    elif labels is not None:
        y = labels[torch.from_numpy(batch.positions).to(labels.device)].to(y.device)
    loss = task.loss(logits, y)
    return -loss if kind == "ascent" else loss


def _draw(task: UnlearningTask, high: int, like: Tensor) -> Tensor:
    return torch.from_numpy(task.random.integers(0, high, size=tuple(like.shape))).to(task.device)
