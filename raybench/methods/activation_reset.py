"""Activation reset: redraw the kernels that fire more for the forget set than for the retain set."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from raybench.methods.finetune import finetune
from raybench.methods.framework.architecture import spatial_convolutions
from raybench.methods.framework.presets import ETH
from raybench.methods.framework.spec import Count, Rate, Share, method
from raybench.methods.framework.task import Batch, UnlearningTask
from raybench.methods.selective_pruning import redraw
from raybench.models import head_name


@method(
    source="Kraehenmann et al. 2023, Forget with Precision (ETH Zurich)",
    formula="redraw kernels with mean_forget > mean_retain in over `positions` of their output; then min CE(retain)",
    passes="once: 1 forward of forget and of the retain sample; then retain: 1 forward, 1 backward",
    needs="a convolutional network",
    presets={"eth": ETH},
)
def activation_reset(
    task: UnlearningTask,
    *,
    lr: Rate = 0.001,
    epochs: Count = 5,
    positions: Share = 0.8,
    retain_share: Share = 0.02,
) -> None:
    """Redraw kernels whose raw output is larger for the forget set at most positions, and the head; then fine-tune.

    Convolutions with 1 x 1 kernels are left alone, and so is the head's bias.

    On small models: an epoch is a handful of steps, after which the default's repair ends far below the original;
    `lr` 0.01 and 20 epochs bring the retain set back.

    Released: the code divides the retain sum by the size of the whole set, 50 times too much, collects activations in
    train mode, and stops with an error before its repair epochs.

    Args:
        positions: share of the output positions at which the forget mean must be the larger one.
        retain_share: share of the retain set that the retain mean is taken over.
    """
    layers = spatial_convolutions(task.model, method="activation_reset")
    size = max(1, round(retain_share * task.num_samples("retain")))
    rows = task.random.choice(task.num_samples("retain"), size=size, replace=False)
    forget = mean_activations(task, layers, task.forget())
    retain = mean_activations(task, layers, task.retain(rows=rows))
    for name, layer in layers.items():
        larger = (forget[name] > retain[name]).flatten(1).to(torch.float32).mean(dim=1)  # (C,)
        chosen = (larger > positions).view(-1, 1, 1, 1).expand_as(layer.weight)
        redraw(layer.weight, chosen)
    head = task.model.get_parameter(f"{head_name(task.model)}.weight")
    redraw(head, torch.ones_like(head, dtype=torch.bool))
    finetune(task, lr=lr, epochs=epochs)


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
