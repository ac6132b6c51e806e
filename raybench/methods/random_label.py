"""Random relabeling of the forget set, and SalUn: the same with only salient weights free to move."""

from typing import Literal

from raybench.methods.building_blocks.relabeling import random_labels
from raybench.methods.building_blocks.saliency import saliency_mask
from raybench.methods.framework.presets import CONFORMAL, UUEF
from raybench.methods.framework.spec import Count, Rate, Share, method
from raybench.methods.framework.task import UnlearningTask

RetainPass = Literal["none", "after", "mixed"]
Labels = Literal["fixed", "redrawn"]

UUEF_LABELS = {**UUEF, "labels": "redrawn", "exclude_true": False, "retain_pass": "none"}
CONFORMAL_LABELS = {**CONFORMAL, "labels": "fixed", "exclude_true": True, "retain_pass": "mixed"}


@method(
    source="Golatkar et al. 2020, arXiv 1911.04933; as in Fan et al. 2024, arXiv 2310.12508",
    formula="min CE(forget, random label) (+ CE(retain))",
    passes="forget: 1 forward, 1 backward; retain: the same, unless `retain_pass` is none",
    presets={"uuef": UUEF_LABELS, "conformal": CONFORMAL_LABELS},
)
def random_label(
    task: UnlearningTask,
    *,
    lr: Rate = 0.01,
    epochs: Count = 5,
    labels: Labels = "fixed",
    exclude_true: bool = True,
    retain_pass: RetainPass = "after",
) -> None:
    """Teach random labels to the forget set, and by default the true ones to the retain set.

    Multi-label targets have their bits drawn, or with `exclude_true` flipped.

    Released: `uuef` draws from all classes, the true one among them, anew in every step, and never sees the retain set.

    Args:
        labels: drawn once for the whole run, or anew for every pass.
        exclude_true: never draw the true class.
        retain_pass: none, a pass of its own after the forget pass, or both sets in shuffled mixed batches.
    """
    optimizer = task.optimizer(lr)
    drawn = random_labels(task, exclude_true=exclude_true)
    passes = {"none": task.num_batches("forget"), "mixed": task.num_mixed()}
    steps = passes.get(retain_pass, task.num_batches("forget") + task.num_batches("retain"))
    for epoch in task.epochs(epochs, steps=steps):
        if labels == "redrawn" and epoch > 0:
            drawn = random_labels(task, exclude_true=exclude_true)
        if retain_pass == "mixed":
            for x, y, _ in task.mixed(forget_labels=drawn):
                task.step(optimizer, task.loss(task.model(x), y))
            continue
        for x, y in task.forget(labels=drawn):
            task.step(optimizer, task.loss(task.model(x), y))
        if retain_pass == "after":
            for x, y in task.retain():
                task.step(optimizer, task.loss(task.model(x), y))


@method(
    source="Fan et al. 2024, arXiv 2310.12508",
    formula="random_label on the weights with the largest |sum of forget gradients|",
    passes="once, forget: 1 forward, 1 backward; then as random_label",
    presets={
        "uuef": {**UUEF_LABELS, "density": 0.5, "mask_update": "gradient"},
        "conformal": {**CONFORMAL_LABELS, "density": 0.5, "mask_update": "gradient"},
    },
)
def salun(
    task: UnlearningTask,
    *,
    lr: Rate = 0.01,
    epochs: Count = 5,
    density: Share = 0.5,
    labels: Labels = "fixed",
    exclude_true: bool = True,
    retain_pass: RetainPass = "after",
    mask_update: Literal["all", "gradient"] = "all",
) -> None:
    """Teach random labels through the weights that the forget set is most sensitive to; the others stay as they are.

    The mask comes from one forget pass in eval mode: signed gradients of -CE summed over the set, one ranking of all
    weights by absolute value, ties by position.

    Released: both codes mask the gradient only, so that weight decay and momentum move the masked weights as well, and
    leave ties among exact zeros to an unstable sort.

    Args:
        density: share of the weights that may move.
        labels: drawn once for the whole run, or anew for every pass.
        exclude_true: never draw the true class.
        retain_pass: none, a pass of its own after the forget pass, or both sets in shuffled mixed batches.
        mask_update: mask the whole update, or as released its gradient only.
    """
    task.restrict(saliency_mask(task, density), gradient_only=mask_update == "gradient")
    random_label(task, lr=lr, epochs=epochs, labels=labels, exclude_true=exclude_true, retain_pass=retain_pass)
