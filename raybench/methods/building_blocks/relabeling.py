"""Wrong labels for the forget set: at random, or the original's best guess among classes that may be kept."""

import torch
from torch import Tensor

from raybench.errors import UserError
from raybench.methods.framework.task import Batch, UnlearningTask


def random_labels(task: UnlearningTask, *, exclude_true: bool) -> Tensor:
    """Draw a label for every forget sample from the task's generator, uniform over the classes.

    Returns (N_f,) class ids, or (N_f, L) bits. With `exclude_true` a class is never the true one, and every bit of a
    multi-label target is flipped, its only other value.
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
    """Return (B, K), true where a forget sample may be moved: classes of the retain set other than its own.

    Where whole classes are forgotten these are the retained classes; where samples are, all but the true one.
    """
    present = torch.zeros(task.num_classes, dtype=torch.bool, device=task.device)
    present[task.retained_classes] = True
    allowed = present.expand(len(labels), -1).clone()
    return allowed.scatter_(1, labels[:, None], False)


def pseudo_labels(task: UnlearningTask, batch: Batch) -> Tensor:
    """Return the original's most likely allowed class of every sample of a forget batch, (B,)."""
    blocked = ~allowed_classes(task, batch[1])
    return task.teacher(batch).masked_fill(blocked, -torch.inf).argmax(dim=1)


def require_other_class(task: UnlearningTask) -> None:
    """Refuse a task in which some forget sample has no other retained class to go to."""
    if task.multi_label:
        raise UserError("this choice is defined for single-label targets: a label vector has no nearest other class")
    if not bool(allowed_classes(task, torch.unique(task.forget_labels)).any(dim=1).all()):
        raise UserError("the retain set holds no class but that of a forget sample, so there is none to move it to")


def _draw(task: UnlearningTask, high: int, like: Tensor) -> Tensor:
    return torch.from_numpy(task.random.integers(0, high, size=tuple(like.shape))).to(task.device)
