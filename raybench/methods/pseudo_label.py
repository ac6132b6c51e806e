"""Pseudo-labeling: teach the original's second opinion to the forget set; and the forget pass that others share."""

from collections.abc import Iterator
from typing import Literal

from torch import Tensor

from raybench.methods.building_blocks.relabeling import pseudo_labels, random_labels, require_other_class
from raybench.methods.framework.presets import UUEF
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import Batch, UnlearningTask

ForgetLoss = Literal["ascent", "pseudo_label", "random_label"]


@method(
    source="baseline of Kim et al. 2025, arXiv 2503.06991 (released code)",
    formula="min CE(forget, most likely other class of the original)",
    passes="forget: 1 forward, 1 backward, 1 teacher forward",
    targets=("single_label",),
    presets={"uuef": UUEF},
)
def pseudo_label(task: UnlearningTask, *, lr: Rate = 0.001, epochs: Count = 5) -> None:
    """Teach to each forget sample the class that the original finds most likely among those it may have.

    Allowed are the classes of the retain set other than the sample's own: the retained classes where whole classes are
    forgotten, all but the true one where samples are.
    """
    require_other_class(task)
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches("forget")):
        for loss in forget_losses(task, "pseudo_label"):
            task.step(optimizer, loss)


def forget_losses(task: UnlearningTask, kind: ForgetLoss, *, exclude_true: bool = True) -> Iterator[Tensor]:
    """Yield the loss of every batch of one forget pass: negated, or against other labels (random ones are redrawn)."""
    labels = random_labels(task, exclude_true=exclude_true) if kind == "random_label" else None
    for batch in task.forget(labels=labels):
        yield _loss(task, batch, kind)


def _loss(task: UnlearningTask, batch: Batch, kind: ForgetLoss) -> Tensor:
    x, y = batch
    if kind == "pseudo_label":
        return task.loss(task.model(x), pseudo_labels(task, batch))
    loss = task.loss(task.model(x), y)
    return -loss if kind == "ascent" else loss
