"""Random relabeling of the forget set, and SalUn: the same with an update mask on the most salient weights."""

from typing import Literal

from raybench.methods.building_blocks.fine_tuning import train_pass
from raybench.methods.building_blocks.relabeling import ExcludeTrue, random_labels
from raybench.methods.building_blocks.saliency import saliency_mask
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import CONFORMAL, UUEF
from raybench.methods.framework.spec import Count, Fraction, Rate, method
from raybench.methods.framework.task import UnlearningTask

RetainPass = Literal["none", "after", "mixed"]
Labels = Literal["fixed", "redrawn"]

UUEF_LABELS = {**UUEF, "labels": "redrawn", "exclude_true": False, "retain_pass": "none"}
CONFORMAL_LABELS = {**CONFORMAL, "labels": "fixed", "exclude_true": True, "retain_pass": "mixed"}


@method(
    source="Golatkar et al. 2020, arXiv 1911.04933; as in Fan et al. 2024, arXiv 2310.12508",
    formula="min CE(forget, random label) (+ CE(retain))",
    passes="forget: 1 forward, 1 backward; retain: the same, unless `retain_pass` is none",
    released="`uuef` draws from all classes, the true one included, again in each pass, and never uses the retain set.",
    presets={"uuef": UUEF_LABELS, "conformal": CONFORMAL_LABELS},
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.01, 0.15]}, "epochs": {"choice": [0.125, 0.25]}},
)
def random_label(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.05),
    epochs: Count = of_epochs(0.25),
    labels: Labels = "fixed",
    exclude_true: ExcludeTrue = True,
    retain_pass: RetainPass = "after",
) -> None:
    """Train the forget set on random labels, and by default the retain set on its true labels.

    The bits of multi-label targets are drawn, or flipped with `exclude_true`.

    Args:
        labels: draw them once for the whole run, or redraw them for every pass.
        retain_pass: none, a separate pass after the forget pass, or both sets in shuffled mixed batches.
    """
    optimizer = task.optimizer(lr)
    drawn = random_labels(task, exclude_true=exclude_true)
    passes = {"none": task.num_batches("forget"), "mixed": task.num_mixed()}
    steps = passes.get(retain_pass, task.num_batches("forget") + task.num_batches("retain"))
    for epoch in task.epochs(epochs, steps=steps):
        if labels == "redrawn" and epoch > 0:
            drawn = random_labels(task, exclude_true=exclude_true)
        if retain_pass == "mixed":
            train_pass(task, optimizer, ((x, y) for x, y, _ in task.mixed(forget_labels=drawn)))
            continue
        train_pass(task, optimizer, task.forget(labels=drawn))
        if retain_pass == "after":
            train_pass(task, optimizer, task.retain())


@method(
    source="Fan et al. 2024, arXiv 2310.12508",
    formula="random_label on the weights with the largest |sum of forget gradients|",
    passes="once, forget: 1 forward, 1 backward; then as random_label",
    released="Both codes mask the gradient only, so weight decay and momentum also change the masked weights, and "
    "leave ties among exact zeros to an unstable sort.",
    presets={
        "uuef": {**UUEF_LABELS, "density": 0.5, "mask_update": "gradient"},
        "conformal": {**CONFORMAL_LABELS, "density": 0.5, "mask_update": "gradient"},
    },
    recipe_settings={"schedule": "cosine"},
    search={
        "lr": {"loguniform": [0.01, 0.15]},
        "epochs": {"choice": [0.125, 0.25]},
        "density": {"choice": [0.3, 0.5, 0.8]},
    },
)
def salun(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.05),
    epochs: Count = of_epochs(0.25),
    density: Fraction = 0.5,
    labels: Labels = "fixed",
    exclude_true: ExcludeTrue = True,
    retain_pass: RetainPass = "after",
    mask_update: Literal["all", "gradient"] = "all",
) -> None:
    """Train on random labels, updating only the weights that the forget loss is most sensitive to.

    The mask is computed in one forget pass in eval mode: signed gradients of -CE summed over the set, one ranking of
    all weights by absolute value, ties by position.

    Args:
        density: fraction of the weights that may change.
        labels: draw them once for the whole run, or redraw them for every pass.
        retain_pass: none, a separate pass after the forget pass, or both sets in shuffled mixed batches.
        mask_update: mask the whole update, or, as released, the gradient only.
    """
    task.restrict(saliency_mask(task, density), gradient_only=mask_update == "gradient")
    random_label(task, lr=lr, epochs=epochs, labels=labels, exclude_true=exclude_true, retain_pass=retain_pass)
