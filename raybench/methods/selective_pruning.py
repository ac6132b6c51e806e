"""Selective pruning: redraw the weights that overfitting the forget set leaves unchanged, then fine-tune on retain."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from raybench.errors import UserError
from raybench.methods.building_blocks.fine_tuning import fine_tune, overfit
from raybench.methods.building_blocks.reinitialization import redraw
from raybench.methods.framework.architecture import weight_matrices
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import ETH, NUMBERS
from raybench.methods.framework.spec import Count, Fraction, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask
from raybench.models import head_name

OVERFIT = {**ETH, "overfit_lr": 0.01}
OVERFIT_BOTH = {**OVERFIT, "retain_overfit_lr": 0.01 / 3, "shuffle": False}
SOURCE = "Kraehenmann et al. 2023, Forget with Precision (ETH Zurich)"
FORMULA = "redraw w where |w - w_overfitted| is below its quantile in the tensor; then min CE(retain)"
PASSES = "once, `overfit_epochs` on forget: 1 forward, 1 backward; then retain: the same"
NEEDS = "linear or convolutional weights"

Quantile = Annotated[
    float, Field(ge=0, le=1, description="fraction of each tensor that counts as unchanged by overfitting")
]
OverfitRate = Annotated[float, Field(gt=0, description="learning rate of the copy overfitted to the forget set")]
OverfitEpochs = Annotated[int, Field(ge=1, description="passes over which a copy of the model is overfitted")]


@method(
    source=SOURCE,
    formula=FORMULA,
    passes=PASSES,
    needs=NEEDS,
    released="The report says a quantile of 0.3 (`eth`), the only script of this variant has 0.2 (`eth_script`).",
    presets={"eth": {**OVERFIT, **NUMBERS}, "eth_script": {**OVERFIT, "quantile": 0.2}},
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.05, 0.5]}, "epochs": {"choice": [0.25, 0.5]}, "quantile": {"choice": [0.2, 0.3]}},
)
def selective_pruning(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.3),
    epochs: Count = of_epochs(0.25),
    quantile: Quantile = 0.3,
    overfit_lr: OverfitRate = of_lr(0.1),
    overfit_epochs: OverfitEpochs = 20,
) -> None:
    """Redraw, in every weight tensor, the entries that overfitting the forget set changes least; then fine-tune.

    Weights of convolutions, linear layers and attention are redrawn from N(0, 2 / fan_in); biases, norms and embeddings
    are not.
    """
    weights = _weights(task)
    overfitted = overfit(task, task.forget, lr=overfit_lr, epochs=overfit_epochs)
    for name, weight in weights.items():
        redraw(weight, unmoved(weight, overfitted[name], quantile))
    fine_tune(task, lr=lr, epochs=epochs)


@method(
    source=SOURCE,
    formula=f"{FORMULA}; last layer only",
    passes=PASSES,
    needs=NEEDS,
    presets={"eth": OVERFIT},
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.3, 2.0]}, "epochs": {"choice": [0.25, 0.5]}, "quantile": {"choice": [0.3, 0.9]}},
)
def selective_pruning_last(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(1.5),
    epochs: Count = of_epochs(0.5),
    quantile: Quantile = 0.3,
    overfit_lr: OverfitRate = of_lr(0.1),
    overfit_epochs: OverfitEpochs = 20,
) -> None:
    """Apply selective pruning to the weight of the last layer only; its bias is kept."""
    name = f"{head_name(task.model)}.weight"
    weight = _weights(task)[name]
    overfitted = overfit(task, task.forget, lr=overfit_lr, epochs=overfit_epochs)
    redraw(weight, unmoved(weight, overfitted[name], quantile))
    fine_tune(task, lr=lr, epochs=epochs)


@method(
    source=SOURCE,
    formula="redraw w where overfitting forget, and overfitting a retain sample, both leave it; then min CE(retain)",
    passes="once, `overfit_epochs` on forget and on the retain sample: 1 forward, 1 backward; then retain: the same",
    needs=NEEDS,
    released="The second learning rate is 0 because of a floor division (`eth_code`), so the code redraws nothing and "
    "only fine-tunes; `eth` has 0.01 / 3. The reported results come from another version of the code.",
    presets={
        "eth": {**OVERFIT_BOTH, **NUMBERS},
        "eth_code": {**OVERFIT_BOTH, "retain_overfit_lr": 0.0},
    },
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.05, 0.5]}, "epochs": {"choice": [0.25, 0.5]}, "quantile": {"choice": [0.3, 0.6]}},
)
def selective_pruning_complex(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.3),
    epochs: Count = of_epochs(0.25),
    quantile: Quantile = 0.3,
    retain_fraction: Fraction = 0.02,
    overfit_lr: OverfitRate = of_lr(0.1),
    retain_overfit_lr: Weight = of_lr(0.1 / 3),
    overfit_epochs: OverfitEpochs = 20,
) -> None:
    """Redraw the entries that overfitting the forget set and a retain sample both leave unchanged; then fine-tune.

    Fine-tuning on retain hardly moves such weights, so they may still encode the forget set.

    Args:
        retain_fraction: fraction of the retain set in the retain sample.
        retain_overfit_lr: learning rate of the copy that is overfitted to the retain sample; with 0 nothing is redrawn.
    """
    weights = _weights(task)
    size = max(1, round(retain_fraction * task.num_samples("retain")))
    rows = task.random.choice(task.num_samples("retain"), size=size, replace=False)
    forget = overfit(task, task.forget, lr=overfit_lr, epochs=overfit_epochs)
    retain = overfit(task, lambda: task.retain(rows=rows), lr=retain_overfit_lr, epochs=overfit_epochs)
    for name, weight in weights.items():
        redraw(weight, unmoved(weight, forget[name], quantile) & unmoved(weight, retain[name], quantile))
    fine_tune(task, lr=lr, epochs=epochs)


def unmoved(weight: Tensor, other: Tensor, quantile: float) -> Tensor:
    """Mark the entries of the tensor whose distance to `other` is below the quantile of all its distances."""
    distance = (weight.detach() - other.detach()).abs()
    return distance < quantile_of(distance, quantile)


def quantile_of(values: Tensor, fraction: float) -> Tensor:
    """Return the linearly interpolated quantile of a tensor of any size (torch.quantile is limited to 16 million)."""
    place = fraction * (values.numel() - 1)
    low = math.floor(place)
    ordered = values.flatten().sort().values
    return torch.lerp(ordered[low], ordered[min(low + 1, values.numel() - 1)], place - low)


def _weights(task: UnlearningTask) -> dict[str, Tensor]:
    weights = weight_matrices(task.model)
    if not weights:
        raise UserError(f"{type(task.model).__name__} has no linear or convolutional weights to prune")
    return weights
