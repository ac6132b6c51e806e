"""SCRUB: disagree with the original on the forget set, agree with it on the retain set."""

from itertools import islice
from typing import Literal

from torch import Tensor

from raybench.engine.losses import distillation
from raybench.methods.framework.presets import CONFORMAL, MUCAC, MUFAC, UUEF
from raybench.methods.framework.spec import Count, Natural, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Kurmanji et al. 2023, arXiv 2302.09880",
    formula="max T^2 KL(original || model) on forget; min gamma CE + alpha T^2 KL on retain",
    passes="retain: 1 forward, 1 backward, 1 teacher forward; forget: the same in the first `max_epochs`",
    presets={
        "uuef": {**UUEF, "temperature": 1.0, "max_epochs": 10, "max_steps": 200, "min_steps": 200},
        "mufac": {**MUFAC, "temperature": 4.0, "max_epochs": 2, "order": "min_then_max"},
        "mucac_multilabel": {
            **MUCAC,
            "temperature": 4.0,
            "max_epochs": 0,
            "order": "min_then_max",
            "divergence": "softmax",
        },
        "mucac_binary": {
            **MUCAC,
            "lr": 1e-4,
            "epochs": 1,
            "temperature": 4.0,
            "max_epochs": 1,
            "order": "min_then_max",
        },
        "conformal": {**CONFORMAL, "schedule": "constant", "bn_mode": "train", "temperature": 2.0, "max_epochs": 6},
    },
)
def scrub(
    task: UnlearningTask,
    *,
    lr: Rate = 5e-4,
    epochs: Count = 5,
    max_epochs: Natural = 3,
    temperature: Rate = 4.0,
    alpha: Weight = 1.0,
    gamma: Weight = 1.0,
    order: Literal["max_then_min", "min_then_max"] = "max_then_min",
    max_steps: Count | None = None,
    min_steps: Count | None = None,
    divergence: Literal["by_target", "softmax"] = "by_target",
) -> None:
    """Move away from the original on forget batches, stay with it on retain batches.

    The divergence is 0 at the start, and without BatchNorm so is its gradient: the first max pass is moved by weight
    decay and rounding alone.

    Released: `uuef`, `mufac` and `mucac_binary` maximize in every epoch, the latter two after the min pass, so that
    they end by destroying; `conformal` maximizes 6 times for a flag that says 5; `mucac_multilabel` never maximizes and
    takes a softmax over independent labels, and its printed row also had a teacher that was not the original.

    Args:
        max_epochs: first epochs that maximize on the forget set; the others only repair.
        temperature: softens both models' predictions.
        alpha, gamma: weights of divergence and cross-entropy on retain.
        order: which pass an epoch begins with.
        max_steps, min_steps: most forget and retain batches an epoch.
        divergence: Bernoulli for multi-label targets and softmax otherwise, or softmax whatever the targets.
    """
    optimizer = task.optimizer(lr)

    def gap(student: Tensor, teacher: Tensor) -> Tensor:
        if divergence == "softmax":
            return distillation(student, teacher, temperature)
        return task.distillation(student, teacher, temperature)

    def maximize() -> None:
        for batch in islice(task.forget(), max_steps):
            task.step(optimizer, -gap(task.model(batch[0]), task.teacher(batch)))

    def minimize() -> None:
        for batch in islice(task.retain(), min_steps):
            x, y = batch
            logits = task.model(x)
            task.step(optimizer, gamma * task.loss(logits, y) + alpha * gap(logits, task.teacher(batch)))

    steps = min(task.num_batches("forget"), max_steps or 2**31) + min(task.num_batches("retain"), min_steps or 2**31)
    for epoch in task.epochs(epochs, steps=steps):
        if order == "max_then_min" and epoch < max_epochs:
            maximize()
        minimize()
        if order == "min_then_max" and epoch < max_epochs:
            maximize()
