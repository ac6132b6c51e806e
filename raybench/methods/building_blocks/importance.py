"""Weight importances: mean gradients and mean squared gradients (the diagonal of the Fisher information matrix).

Most released code squares the mean gradient of a batch. That is not the Fisher information, which squares the gradient
of each sample. Both are available (`per: batch`, `per: sample`); the model is in eval mode throughout.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor

from raybench.engine.losses import supervised, supervised_rows
from raybench.methods.framework.task import UnlearningTask

Per = Literal["sample", "batch"]
Rows = Callable[[Tensor, Tensor], Tensor]
"""Function of (logits, targets) that returns one value per sample, (B,)."""

Pairs = Iterable[tuple[Tensor, Tensor]]
CHUNK_NUMBERS = 2**28  # most per-sample gradient values kept in memory at once on an accelerator
Importance = dict[str, Tensor]


def mean_gradient(task: UnlearningTask, batches: Pairs) -> Importance:
    """Return the gradient of the mean loss over all samples of the batches."""
    parameters = task.parameters
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    samples = 0
    with task.eval_mode() as model:
        for x, y in batches:
            gradients = task.gradients(task.loss(model(x), y) * len(x), list(parameters.values()))
            torch._foreach_add_(list(total.values()), gradients)
            samples += len(x)
    return {name: value / samples for name, value in total.items()}


def squared_gradients(
    task: UnlearningTask, batches: Pairs, *, per: Per = "sample", rows: Rows = supervised_rows
) -> Importance:
    """Return the mean over samples (or batches) of the squared gradient of a sample's (a batch's mean) loss."""
    return _mean_magnitude(task, batches, per=per, rows=rows, power=2)


def absolute_gradients(
    task: UnlearningTask, batches: Pairs, *, per: Per = "sample", rows: Rows = supervised_rows
) -> Importance:
    """Return the mean over samples (or batches) of the absolute gradient of a sample's (a batch's mean) loss."""
    return _mean_magnitude(task, batches, per=per, rows=rows, power=1)


def expected_fisher(task: UnlearningTask, batches: Pairs, *, per: Per = "sample") -> Importance:
    """Return the mean of sum_k p_k (d CE(k) / d theta)^2 over samples: the Fisher information under the model.

    Costs one backward pass per class. `per: batch` squares each class's mean gradient and weights it by the mean p_k.
    """
    parameters = list(task.parameters.values())
    total = {name: torch.zeros_like(parameter) for name, parameter in task.parameters.items()}
    terms = 0
    with task.eval_mode() as model:
        for batch, _ in batches:
            for x in torch.split(batch, 1) if per == "sample" else [batch]:
                logits = model(x)
                # (sqrt(p) g)^2 = p g^2, so scaling the loss saves a pass over all weights
                roots = logits.detach().softmax(dim=1).mean(dim=0).sqrt()
                for k in range(task.num_classes):
                    loss = supervised(logits, torch.full((len(x),), k, device=x.device)) * roots[k]
                    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
                    task.meter.add_backward(len(x))
                    _add(total, list(gradients), 2)
                task.meter.forget_graph()
                terms += 1
    return {name: value / terms for name, value in total.items()}


def _mean_magnitude(task: UnlearningTask, batches: Pairs, *, per: Per, rows: Rows, power: int) -> Importance:
    parameters = task.parameters
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    terms = 0
    with task.eval_mode() as model:
        for x, y in batches:
            if per == "batch":
                _add(total, task.gradients(rows(model(x), y).mean(), list(parameters.values())), power)
                terms += 1
            else:
                add = _add_vectorized if task.device.type == "cuda" else _add_one_by_one
                add(task, total, x, y, rows, power)
                terms += len(x)
    return {name: value / terms for name, value in total.items()}


def _add(total: Importance, gradients: list[Tensor], power: int) -> None:
    if power == 2:
        torch._foreach_addcmul_(list(total.values()), gradients, gradients)
    else:
        torch._foreach_add_(list(total.values()), torch._foreach_abs(gradients))


def _add_one_by_one(task: UnlearningTask, total: Importance, x: Tensor, y: Tensor, rows: Rows, power: int) -> None:
    parameters = list(task.parameters.values())
    for sample, target in zip(torch.split(x, 1), torch.split(y, 1)):
        _add(total, task.gradients(rows(task.model(sample), target).sum(), parameters), power)


def _add_vectorized(task: UnlearningTask, total: Importance, x: Tensor, y: Tensor, rows: Rows, power: int) -> None:
    model = task.model
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(parameters: Importance, sample: Tensor, target: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, (parameters, buffers), (sample[None],))
        return rows(logits, target[None]).sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), randomness="different")
    chunk = max(1, CHUNK_NUMBERS // sum(weight.numel() for weight in weights.values()))
    with task.meter.paused():  # the hooks see one vectorized sample; the ledger must count all
        for inputs, targets in zip(torch.split(x, chunk), torch.split(y, chunk)):
            for name, gradient in per_sample(weights, inputs, targets).items():
                total[name] += gradient.abs().pow(power).sum(dim=0)
    task.meter.add_forward(len(x))
    task.meter.add_backward(len(x))
