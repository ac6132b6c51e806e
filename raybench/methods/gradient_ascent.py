"""Gradient ascent on the forget set (NegGrad), the simplest unlearning method."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from raybench.methods.building_blocks.saliency import saliency_mask
from raybench.methods.framework.defaults import of_lr, of_steps
from raybench.methods.framework.presets import CONFORMAL, MUFAC, UUEF
from raybench.methods.framework.spec import Count, Fraction, Rate, method
from raybench.methods.framework.task import Batch, UnlearningTask


@method(
    source="Graves et al. 2021, arXiv 2010.10981; Thudi et al. 2022, arXiv 2109.13398",
    formula="max CE(forget)",
    passes="forget: 1 forward, 1 backward (`driver: retain`: one forget batch for each retain batch)",
    released="`mufac` takes as many steps as the retain set has batches, so the model trains on a forget image about "
    "five times per epoch. A mask in `uuef` zeroes gradients only, so weight decay and momentum also change the masked "
    "weights. `uuef_soft` is its GA_softlabel. `conformal` has the default rate of the command line, 0.1, although the "
    "loss diverges at 0.01 already; the paper's rate is not known, and the experiments of raybench use 1e-4.",
    presets={
        "uuef": UUEF,
        "uuef_soft": {**UUEF, "targets": "original"},
        "mufac": {**MUFAC, "driver": "retain", "skip_incomplete": True},
        "mucac_multilabel": {**MUFAC, "driver": "forget", "skip_incomplete": True},
        "mucac_binary": {**MUFAC, "driver": "retain", "skip_incomplete": True},
        "conformal": {**CONFORMAL, "schedule": "constant"},
    },
    search={"lr": {"loguniform": [0.003, 0.1]}},
    limits="Made for forgetting whole classes. Its loss is unbounded, so on a random forget set the mild default "
    "changes little, and stronger settings damage the model before it forgets.",
)
def gradient_ascent(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.01),
    epochs: Count = of_steps(20),
    driver: Literal["forget", "retain"] = "forget",
    targets: Literal["labels", "original"] = "labels",
    density: Fraction = 1.0,
    mask_update: Literal["all", "gradient"] = "all",
) -> None:
    """Maximize the loss of the forget set. The loss is unbounded: bound the damage by `clip_norm` and few, small steps.

    Args:
        driver: set whose number of batches is an epoch; with `retain` the forget set is cycled.
        targets: the labels, or the original's probabilities, at which the first gradient is 0 without BatchNorm.
        density: fraction of the weights that may change, by forget saliency; 1 is no mask.
        mask_update: mask the whole update, or, as released, the gradient only.
    """
    if density < 1:
        task.restrict(saliency_mask(task, density), gradient_only=mask_update == "gradient")
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches(driver)):
        batches = task.forget() if driver == "forget" else (forget for _, forget in task.paired(driver="retain"))
        for batch in batches:
            task.step(optimizer, -_loss(task, batch, targets))


def _loss(task: UnlearningTask, batch: Batch, targets: str) -> Tensor:
    x, y = batch
    logits: Tensor = task.model(x)
    if targets == "labels":
        return task.loss(logits, y)
    teacher = task.teacher(batch)
    if task.multi_label:
        return task.loss(logits, torch.sigmoid(teacher))
    return F.cross_entropy(logits, torch.softmax(teacher, dim=1))
