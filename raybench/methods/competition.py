"""Three winners of the NeurIPS 2023 competition: perturb the convolutions, then fine-tune on the retain set."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raybench.engine.optimization import set_learning_rate
from raybench.errors import UserError
from raybench.methods.building_blocks.fine_tuning import fine_tune, train_pass
from raybench.methods.framework.architecture import convolutions, spatial_convolutions
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.spec import Count, Fraction, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask

FINDINGS = "in the NeurIPS 2023 competition (Triantafillou et al. 2024, arXiv 2406.09073)"


@method(
    source=f"2nd {FINDINGS}",
    formula="redraw convolution weights with the smallest |gradient of CE(retain) - CE(forget)|; then min CE(retain)",
    passes="once, forget and as many retain samples: 1 forward, 1 backward; then retain: the same",
    needs="convolutions",
    search={"lr": {"loguniform": [0.05, 0.5]}, "epochs": {"choice": [0.25, 0.5]}},
)
def msg(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.3),
    epochs: Count = of_epochs(0.5),
    fraction: Fraction = 0.3,
    slow: Fraction = 0.1,
) -> None:
    """Redraw the convolution weights that matter least to the difference of both losses; then fine-tune.

    Masked small gradients: the other weights of the convolutions train `slow` times as fast. The learning rate rises
    over the first half of the epochs and falls afterwards.

    Args:
        fraction: fraction of each convolution that is redrawn, from N(0, 2 / fan_out).
        slow: factor on the gradients of the convolution weights that were not redrawn.
    """
    layers = convolutions(task.model, method="msg")
    gradients = _difference_gradients(task, {name: layer.weight for name, layer in layers.items()})
    factors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        selected = smallest(gradients[name], fraction)
        with torch.no_grad():
            fresh = nn.init.kaiming_normal_(torch.empty_like(layer.weight), mode="fan_out", nonlinearity="relu")
            layer.weight.copy_(torch.where(selected, fresh, layer.weight))
        factors[f"{name}.weight"] = torch.where(selected, 1.0, slow).to(task.dtype)
    optimizer = task.optimizer(lr)
    for epoch in task.epochs(epochs, steps=task.num_batches("retain")):
        set_learning_rate(optimizer, lr * triangle(epoch, epochs))
        for x, y in task.retain():
            task.step(optimizer, task.loss(task.model(x), y), gradient_mask=factors)


@method(
    source=f"3rd {FINDINGS}",
    formula="w + N(0, start_std^2); min class-weighted CE(retain); w + N(0, end_std^2) before the last epoch",
    passes="retain: 1 forward, 1 backward",
    needs="convolutions",
    released="The noise reaches only convolutions at the top level of the network, the first one of a residual network "
    "(`layers: first`); a later re-implementation multiplies the mean loss by the mean of the class weights, which has "
    "no effect. Label vectors have no classes to balance.",
    settings={"schedule": "cosine_epoch"},
    search={"lr": {"loguniform": [0.05, 0.5]}, "epochs": {"choice": [0.25, 0.5]}},
)
def cfw(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.3),
    epochs: Count = of_epochs(0.25),
    start_std: Weight = 0.6,
    end_std: Weight = 0.005,
    layers: Literal["first", "all"] = "first",
    class_weights: Literal["balanced", "none"] = "balanced",
) -> None:
    """Add noise to the convolutions, fine-tune, and add weaker noise before the last epoch.

    Args:
        start_std, end_std: standard deviation of the noise before training and before the last epoch.
        layers: convolutions that receive the noise.
        class_weights: balanced: weight each sample by the inverse frequency of its class in the retain set.
    """
    every = list(convolutions(task.model, method="cfw").values())
    noisy = every[:1] if layers == "first" else every
    weights = None if task.multi_label or class_weights == "none" else balanced_weights(task)
    _add_noise(noisy, start_std)
    optimizer = task.optimizer(lr)
    for epoch in task.epochs(epochs, steps=task.num_batches("retain")):
        if epoch == epochs - 1:
            _add_noise(noisy, end_std)
        if weights is None:
            train_pass(task, optimizer, task.retain())
            continue
        for x, y in task.retain():
            losses = F.cross_entropy(task.model(x), y, reduction="none")
            task.step(optimizer, (weights[y] * losses).mean())


@method(
    source=f"5th {FINDINGS}",
    formula="swap the axes of every convolution kernel; then min CE(retain)",
    passes="retain: 1 forward, 1 backward",
    needs="a convolutional network with square kernels",
    settings={"schedule": "cosine_epoch"},
    search={"lr": {"loguniform": [0.1, 1.0]}, "epochs": {"choice": [0.25, 0.5]}},
)
def convolution_transpose(task: UnlearningTask, *, lr: Rate = of_lr(0.3), epochs: Count = of_epochs(0.5)) -> None:
    """Transpose every kernel, as if the network saw transposed images, and fine-tune on the retain set."""
    layers = spatial_convolutions(task.model, method="convolution_transpose")
    for name, layer in layers.items():
        if layer.kernel_size[0] != layer.kernel_size[1]:
            raise UserError(f"convolution_transpose: kernel of {name} is {layer.kernel_size}, not square")
    with torch.no_grad():
        for layer in layers.values():
            layer.weight.copy_(layer.weight.transpose(2, 3).clone())
    fine_tune(task, lr=lr, epochs=epochs)


def smallest(values: Tensor, fraction: float) -> Tensor:
    """Mark the fraction of entries with the smallest absolute values; ties go to the earlier position."""
    order = torch.argsort(values.abs().flatten(), stable=True)
    selected = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    selected[order[: round(fraction * values.numel())]] = True
    return selected.view_as(values)


def triangle(epoch: int, epochs: int) -> float:
    """Return the factor of the learning rate: it rises over the first half of the epochs, then falls toward 0."""
    count, rise, end = epoch + 1, (epochs + 1) // 2, epochs + 1
    return count / rise if count <= rise else (end - count) / (end - rise)


def balanced_weights(task: UnlearningTask) -> Tensor:
    """Return N / (classes present * samples of the class) for every class, 0 for a class without retain samples."""
    counts = torch.bincount(task.retain_labels, minlength=task.num_classes).to(task.dtype)
    weights = counts.sum() / ((counts > 0).sum() * counts.clamp(min=1))
    return torch.where(counts > 0, weights, torch.zeros_like(weights))


def _difference_gradients(task: UnlearningTask, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    size = min(task.num_samples("retain"), task.num_samples("forget"))
    rows = task.random.choice(task.num_samples("retain"), size=size, replace=False)
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    with task.eval_mode() as model:
        for sign, batches in ((1, task.retain(rows=rows)), (-1, task.forget())):
            for x, y in batches:
                gradients = task.gradients(sign * task.loss(model(x), y), list(weights.values()))
                torch._foreach_add_(list(total.values()), gradients)
    return total


@torch.no_grad()
def _add_noise(layers: list[nn.Conv2d], std: float) -> None:
    for layer in layers:
        layer.weight.add_(std * torch.randn_like(layer.weight))
