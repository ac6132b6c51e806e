"""SCRUB: move away from the original on the forget set, stay close to it on the retain set."""

from itertools import islice
from typing import Literal

from torch import Tensor

from raybench.engine.losses import distillation
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import CONFORMAL, MUFAC, UUEF
from raybench.methods.framework.spec import Count, Natural, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask

NOTEBOOKS = {**MUFAC, "temperature": 4.0, "order": "min_then_max"}


@method(
    source="Kurmanji et al. 2023, arXiv 2302.09880",
    formula="max T^2 KL(original || model) on forget; min gamma CE + alpha T^2 KL on retain",
    passes="retain: 1 forward, 1 backward, 1 teacher forward; forget: the same in the first `max_epochs`",
    released="`uuef`, `mufac` and `mucac_binary` maximize in every epoch (`max_epochs: all`), the latter two after the "
    "min pass, so they end with a destructive step; `conformal` maximizes 6 times for a flag that says 5; "
    "`mucac_multilabel` never maximizes and takes a softmax over independent labels, and its reported row also had a "
    "teacher that was not the original.",
    presets={
        "uuef": {**UUEF, "temperature": 1.0, "max_epochs": "all", "max_steps": 200, "min_steps": 200},
        "mufac": {**NOTEBOOKS, "max_epochs": "all"},
        "mucac_multilabel": {**NOTEBOOKS, "max_epochs": 0, "divergence": "softmax"},
        "mucac_binary": {**NOTEBOOKS, "lr": 1e-4, "epochs": 1, "max_epochs": "all"},
        "conformal": {**CONFORMAL, "schedule": "constant", "bn_mode": "train", "temperature": 2.0, "max_epochs": 6},
    },
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.2, 1.5]}, "epochs": {"choice": [0.15, 0.25]}, "max_epochs": {"choice": [2, 3]}},
)
def scrub(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.6),
    epochs: Count = of_epochs(0.2),
    max_epochs: Natural | Literal["all"] = 3,
    temperature: Rate = 4.0,
    alpha: Weight = 1.0,
    gamma: Weight = 1.0,
    order: Literal["max_then_min", "min_then_max"] = "max_then_min",
    max_steps: Count | None = None,
    min_steps: Count | None = None,
    divergence: Literal["by_target", "softmax"] = "by_target",
) -> None:
    """Maximize the divergence from the original on forget batches and minimize it on retain batches.

    The divergence is 0 at the start, and so is its gradient without BatchNorm: only weight decay and rounding drive the
    first max pass.

    Args:
        max_epochs: number of first epochs that maximize on the forget set, or all; the others only repair.
        temperature: softmax temperature of both models.
        alpha, gamma: weights of divergence and cross-entropy on retain.
        order: which pass comes first in an epoch.
        max_steps, min_steps: largest number of forget and retain batches per epoch; None: all.
        divergence: Bernoulli for multi-label targets and softmax otherwise, or softmax for all targets.
    """
    optimizer = task.optimizer(lr)
    maximizing = epochs if max_epochs == "all" else max_epochs

    def divergence_of(student: Tensor, teacher: Tensor) -> Tensor:
        if divergence == "softmax":
            return distillation(student, teacher, temperature)
        return task.distillation(student, teacher, temperature)

    def maximize() -> None:
        for batch in islice(task.forget(), max_steps):
            task.step(optimizer, -divergence_of(task.model(batch[0]), task.teacher(batch)))

    def minimize() -> None:
        for batch in islice(task.retain(), min_steps):
            x, y = batch
            logits = task.model(x)
            task.step(optimizer, gamma * task.loss(logits, y) + alpha * divergence_of(logits, task.teacher(batch)))

    steps = min(task.num_batches("forget"), max_steps or 2**31) + min(task.num_batches("retain"), min_steps or 2**31)
    for epoch in task.epochs(epochs, steps=steps):
        if order == "max_then_min" and epoch < maximizing:
            maximize()
        minimize()
        if order == "min_then_max" and epoch < maximizing:
            maximize()
