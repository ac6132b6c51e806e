"""Boundary unlearning: move the decision boundary across the forget set, or give the set a temporary extra class."""

from typing import Literal

import torch
from torch import Tensor, nn

from raybench.errors import UserError
from raybench.methods.building_blocks.relabeling import allowed_classes, require_other_class
from raybench.methods.framework.defaults import of_lr, of_steps
from raybench.methods.framework.presets import UUEF
from raybench.methods.framework.spec import Count, Natural, Rate, method
from raybench.methods.framework.task import Batch, UnlearningTask
from raybench.methods.framework.teaching import infer

SOURCE = "Chen et al. 2023, arXiv 2303.11570"


@method(
    source=SOURCE,
    formula="min CE(forget, class of the nearest adversarial image under the original)",
    passes="forget: 1 forward, 1 backward; the original: 2 forwards, 1 backward",
    released="In `uuef` the step may leave the true class on top, which is then the training label.",
    targets=("single_label",),
    presets={"uuef": {**UUEF, "epsilon": 0.1, "exclude_true": False, "pixels": True}},
    search={"lr": {"loguniform": [0.003, 0.1]}},
    limits="Made for forgetting whole classes. It trains on the forget set alone, so on a random forget set the mild "
    "default changes little, and stronger settings damage the model before it forgets.",
)
def boundary_shrink(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.01),
    epochs: Count = of_steps(10),
    epsilon: Rate = 0.1,
    exclude_true: bool = True,
    pixels: bool = False,
) -> None:
    """Train each forget image on the class across its nearest decision boundary.

    That class is the original's prediction for the image after one signed gradient step up the loss.

    Args:
        epsilon: length of the step, in the units of the network's input.
        exclude_true: choose among the classes of the retain set other than the true one.
        pixels: inputs are in 0..1; clip perturbed images to that range and round them to 256 levels.
    """
    if exclude_true:
        require_other_class(task)
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches("forget")):
        for batch in task.forget():
            logits = infer(task.frozen_original(), _across_boundary(task, batch, epsilon, pixels=pixels))
            if exclude_true:
                logits = logits.masked_fill(~allowed_classes(task, batch[1]), -torch.inf)
            task.step(optimizer, task.loss(task.model(batch[0]), logits.argmax(dim=1)))


@method(
    source=SOURCE,
    formula="min CE over K + 1 logits (forget, class K + 1); the extra unit is dropped at the end",
    passes="forget: 1 forward, 1 backward",
    released="The code of `uuef` takes the number of classes from its command line, by default 10, so on ImageNet it "
    "trains a real class and not the extra unit; `target: extra` restores the published algorithm.",
    targets=("single_label",),
    presets={"uuef": {**UUEF, "target": 10}},
    search={"lr": {"loguniform": [0.003, 0.1]}},
    limits="Made for forgetting whole classes. It trains on the forget set alone, so on a random forget set the mild "
    "default changes little, and stronger settings damage the model before it forgets.",
)
def boundary_expand(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.01),
    epochs: Count = of_steps(10),
    target: Natural | Literal["extra"] = "extra",
) -> None:
    """Train the forget set on an extra class, an output unit that is removed when the method ends.

    Args:
        target: class on which the forget set is trained: the extra unit, or the index of another output.
    """
    label = task.num_classes if target == "extra" else target
    if label > task.num_classes:
        raise UserError(f"boundary_expand: target = {target} needs a model with at least {target} classes")
    with torch.inference_mode():
        width = task.logits_and_features(next(task.forget())[0], model=task.frozen_original())[1].shape[1]
    extra = nn.Linear(width, 1, device=task.device, dtype=task.dtype)
    optimizer = task.optimizer(lr, parameters=[*task.model.parameters(), *extra.parameters()])
    for _ in task.epochs(epochs, steps=task.num_batches("forget")):
        for x, y in task.forget():
            logits, features = task.logits_and_features(x)
            expanded = torch.cat([logits, extra(features)], dim=1)
            task.step(optimizer, task.loss(expanded, torch.full_like(y, label)))


def _across_boundary(task: UnlearningTask, batch: Batch, epsilon: float, *, pixels: bool) -> Tensor:
    x, y = batch
    x = x.clone().requires_grad_(True)
    (gradient,) = task.gradients(task.loss(task.frozen_original()(x), y), [x])
    moved = x.detach() + epsilon * gradient.sign()
    return (moved.clamp(0, 1) * 255).round() / 255 if pixels else moved
