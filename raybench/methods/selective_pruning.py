"""Selective pruning: redraw the weights that overfitting the forget set leaves alone, then fine-tune on retain."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from raybench.errors import UserError
from raybench.methods.finetune import finetune
from raybench.methods.framework.architecture import weight_matrices
from raybench.methods.framework.presets import ETH
from raybench.methods.framework.spec import Count, Rate, Share, method
from raybench.methods.framework.task import Batch, UnlearningTask
from raybench.models import head_name

SOURCE = "Kraehenmann et al. 2023, Forget with Precision (ETH Zurich)"
FORMULA = "redraw w where |w - w_overfitted| is below its quantile in the tensor; then min CE(retain)"
PASSES = "once, `overfit_epochs` on forget: 1 forward, 1 backward; then retain: the same"
NEEDS = "linear or convolutional weights"


@method(
    source=SOURCE,
    formula=FORMULA,
    passes=PASSES,
    needs=NEEDS,
    presets={"eth": ETH, "eth_script": {**ETH, "quantile": 0.2}},
)
def selective_pruning(
    task: UnlearningTask,
    *,
    lr: Rate = 0.001,
    epochs: Count = 5,
    quantile: Share = 0.3,
    overfit_lr: Rate = 0.01,
    overfit_epochs: Count = 20,
) -> None:
    """Redraw, in every weight tensor, the entries that overfitting the forget set changes least; then fine-tune.

    Weights of convolutions, linear layers and attention are redrawn from N(0, 2 / fan_in); biases, norms and embeddings
    stay.

    On small models: an epoch is a handful of steps, after which the default's repair ends far below the original;
    `lr` 0.01 and 20 epochs bring the retain set back.

    Released: the report says a quantile of 0.3, the only script of this variant has 0.2 (`eth_script`).

    Args:
        quantile: share of each tensor that is redrawn.
        overfit_lr, overfit_epochs: how a copy of the model is overfitted to the forget set.
    """
    weights = _weights(task)
    overfitted = overfit(task, task.forget, lr=overfit_lr, epochs=overfit_epochs)
    for name, weight in weights.items():
        redraw(weight, unmoved(weight, overfitted[name], quantile))
    finetune(task, lr=lr, epochs=epochs)


@method(source=SOURCE, formula=f"{FORMULA}; last layer only", passes=PASSES, needs=NEEDS, presets={"eth": ETH})
def selective_pruning_last(
    task: UnlearningTask,
    *,
    lr: Rate = 0.001,
    epochs: Count = 5,
    quantile: Share = 0.3,
    overfit_lr: Rate = 0.01,
    overfit_epochs: Count = 20,
) -> None:
    """Do selective pruning on the weight of the last layer only; its bias is kept.

    Args:
        quantile: share of the last weight that is redrawn.
        overfit_lr, overfit_epochs: how a copy of the model is overfitted to the forget set.
    """
    name = f"{head_name(task.model)}.weight"
    weight = _weights(task)[name]
    overfitted = overfit(task, task.forget, lr=overfit_lr, epochs=overfit_epochs)
    redraw(weight, unmoved(weight, overfitted[name], quantile))
    finetune(task, lr=lr, epochs=epochs)


@method(
    source=SOURCE,
    formula="redraw w where overfitting forget, and overfitting a retain sample, both leave it; then min CE(retain)",
    passes="once, `overfit_epochs` on forget and on the retain sample: 1 forward, 1 backward; then retain: the same",
    needs=NEEDS,
    presets={"eth": {**ETH, "shuffle": False}},
)
def selective_pruning_complex(
    task: UnlearningTask,
    *,
    lr: Rate = 0.001,
    epochs: Count = 5,
    quantile: Share = 0.3,
    retain_share: Share = 0.02,
    overfit_lr: Rate = 0.01,
    retain_overfit_lr: Rate = 0.01 / 3,
    overfit_epochs: Count = 20,
) -> None:
    """Redraw the entries that overfitting the forget set, and a retain sample, both leave alone; then fine-tune.

    Such weights are hard to move by fine-tuning on retain and may still hold the forget set.

    On small models: an epoch is a handful of steps, after which the default's repair ends far below the original;
    `lr` 0.01 and 20 epochs bring the retain set back.

    Released: its second learning rate is 0 by a floor division, so that nothing was ever redrawn; here it is 0.01 / 3.

    Args:
        quantile: share of each tensor that each of the two comparisons marks.
        retain_share: share of the retain set in the retain sample.
        overfit_lr, retain_overfit_lr, overfit_epochs: how the two copies are overfitted.
    """
    weights = _weights(task)
    size = max(1, round(retain_share * task.num_samples("retain")))
    rows = task.random.choice(task.num_samples("retain"), size=size, replace=False)
    forget = overfit(task, task.forget, lr=overfit_lr, epochs=overfit_epochs)
    retain = overfit(task, lambda: task.retain(rows=rows), lr=retain_overfit_lr, epochs=overfit_epochs)
    for name, weight in weights.items():
        redraw(weight, unmoved(weight, forget[name], quantile) & unmoved(weight, retain[name], quantile))
    finetune(task, lr=lr, epochs=epochs)


def overfit(
    task: UnlearningTask, batches: Callable[[], Iterable[Batch]], *, lr: float, epochs: int
) -> dict[str, nn.Parameter]:
    """Return the parameters of a copy of the model that was trained on the batches alone; counted in the ledger."""
    copied = task.copy_of_model()
    optimizer = task.optimizer(lr, parameters=list(copied.parameters()))
    for _ in range(epochs):
        for x, y in batches():
            task.step(optimizer, task.loss(copied(x), y))
    return dict(copied.named_parameters())


def unmoved(weight: Tensor, other: Tensor, share: float) -> Tensor:
    """Mark the entries of the tensor whose distance to `other` is below the `share` quantile of all its distances."""
    distance = (weight.detach() - other.detach()).abs()
    return distance < quantile_of(distance, share)


def quantile_of(values: Tensor, share: float) -> Tensor:
    """Return the linearly interpolated quantile, for tensors of any size (torch.quantile stops at 16 million)."""
    place = share * (values.numel() - 1)
    low = math.floor(place)
    ordered = values.flatten().sort().values
    return torch.lerp(ordered[low], ordered[min(low + 1, values.numel() - 1)], place - low)


def redraw(weight: Tensor, chosen: Tensor) -> None:
    """Draw the chosen entries from N(0, 2 / fan_in), Kaiming's for ReLU networks, in place."""
    fan_in = weight[0].numel()
    with torch.no_grad():
        weight.copy_(torch.where(chosen, torch.randn_like(weight) * math.sqrt(2 / fan_in), weight))


def _weights(task: UnlearningTask) -> dict[str, Tensor]:
    found = weight_matrices(task.model)
    if not found:
        raise UserError(f"{type(task.model).__name__} has no linear or convolutional weights to prune")
    return found
