"""Activation reset: redraw the kernels that respond more to the forget set than to the retain set."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from raybench.methods.building_blocks.fine_tuning import fine_tune
from raybench.methods.building_blocks.reinitialization import redraw
from raybench.methods.framework.architecture import spatial_convolutions
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import ETH, NUMBERS
from raybench.methods.framework.spec import Count, Fraction, Rate, method
from raybench.methods.framework.task import Batch, UnlearningTask
from raybench.models import head_name


@method(
    source="Kraehenmann et al. 2023, Forget with Precision (ETH Zurich)",
    formula="redraw kernels with mean_forget > mean_retain in over `positions` of their output; then min CE(retain)",
    passes="once: 1 forward of forget and of the retain sample; then retain: 1 forward, 1 backward",
    needs="a convolutional network",
    released="The code divides the retain sum by the size of the whole set, 50 times too much, collects activations in "
    "train mode, and stops with an error before its repair epochs, so it has no result to reproduce; `eth` has its "
    "settings.",
    presets={"eth": {**ETH, **NUMBERS}},
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.1, 1.0]}, "epochs": {"choice": [0.25, 0.5]}, "positions": {"choice": [0.6, 0.8]}},
)
def activation_reset(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.5),
    epochs: Count = of_epochs(0.25),
    positions: Fraction = 0.8,
    retain_fraction: Fraction = 0.02,
) -> None:
    """Redraw the head and all kernels whose raw output is larger for the forget set at most positions; then fine-tune.

    Kernels of size 1 x 1 and the bias of the head stay as they are.

    Args:
        positions: fraction of the output positions at which the forget mean must exceed the retain mean.
        retain_fraction: fraction of the retain set over which the retain mean is taken.
    """
    layers = spatial_convolutions(task.model, method="activation_reset")
    size = max(1, round(retain_fraction * task.num_samples("retain")))
    rows = task.random.choice(task.num_samples("retain"), size=size, replace=False)
    forget = mean_activations(task, layers, task.forget())
    retain = mean_activations(task, layers, task.retain(rows=rows))
    for name, layer in layers.items():
        larger = (forget[name] > retain[name]).flatten(1).to(torch.float32).mean(dim=1)  # (C,)
        redraw(layer.weight, (larger > positions).view(-1, 1, 1, 1).expand_as(layer.weight))
    head = task.model.get_parameter(f"{head_name(task.model)}.weight")
    redraw(head, torch.ones_like(head, dtype=torch.bool))
    fine_tune(task, lr=lr, epochs=epochs)


def mean_activations(task: UnlearningTask, layers: dict[str, nn.Conv2d], batches: Iterable[Batch]) -> dict[str, Tensor]:
    """Return each layer's raw output (C, H, W) in eval mode, averaged over the samples of the batches."""
    samples = 0
    with task.eval_mode() as model, torch.no_grad(), _summed_outputs(layers) as total:
        for x, _ in batches:
            model(x)
            samples += len(x)
    return {name: value / samples for name, value in total.items()}


@contextmanager
def _summed_outputs(layers: dict[str, nn.Conv2d]) -> Iterator[dict[str, Tensor]]:
    total: dict[str, Tensor] = {}

    def add(name: str, output: Tensor) -> None:
        total[name] = total.get(name, torch.zeros((), device=output.device)) + output.sum(dim=0)

    handles = [
        layer.register_forward_hook(lambda _m, _i, output, name=name: add(name, output))
        for name, layer in layers.items()
    ]
    try:
        yield total
    finally:
        for handle in handles:
            handle.remove()
