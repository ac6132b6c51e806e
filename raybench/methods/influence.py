"""Influence unlearning: one Newton step away from the forget set, with a sampled Fisher matrix as the Hessian."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from raybench.methods.building_blocks.importance import mean_gradient
from raybench.methods.framework.presets import NUMBERS, UUEF
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Izzo et al. 2021, arXiv 2002.10077; with WoodFisher (2004.14340) in Jia et al. 2023, arXiv 2304.04934",
    formula="theta + alpha (dampening I + F)^-1 (mean forget gradient - mean retain gradient)",
    passes="once: 1 forward, 1 backward of forget and retain; `samples` more of retain",
    released="The recursion updates one vector where the Woodbury identity needs the matrix, so the result is not the "
    "inverse; on ImageNet the code of `uuef` computed its retain gradient from the forget set, which `uuef` does not.",
    presets={
        "uuef": {
            "batch_size": UUEF["batch_size"],
            "inverse": "recursion",
            "samples": 300_000,
            "alpha": 0.2,
            **NUMBERS,
        },
    },
    limits="The step is as long as the gradients, which are small where the original fits its training set: there the "
    "default changes little on a random forget set, and larger steps damage networks that fit it less well.",
    search={"alpha": {"loguniform": [0.1, 4.0]}},
)
def influence(
    task: UnlearningTask,
    *,
    alpha: Rate = 0.3,
    samples: Count = 64,
    dampening: Rate = 1.0,
    inverse: Literal["exact", "recursion"] = "exact",
) -> None:
    """Move the weights by the inverse Fisher matrix times the difference of forget and retain gradients.

    F is the mean outer product of the gradients of `samples` retain samples. `inverse: exact` uses the Woodbury
    identity and keeps that many gradients in memory.

    Args:
        alpha: step size.
        samples: number of retain samples for the Fisher matrix.
        dampening: added to the diagonal (the recursion starts at the identity instead).
        inverse: the exact inverse, or the recursion as released.
    """
    direction = _flat(mean_gradient(task, task.forget())) - _flat(mean_gradient(task, task.retain()))
    count = min(samples, task.num_samples("retain"))
    rows = np.sort(task.random.choice(task.num_samples("retain"), size=count, replace=False))
    pairs = task.retain(rows=rows, batch_size=1)
    if inverse == "recursion":
        step = recursion((_sample_gradient(task, x, y) for x, y in pairs), direction, samples=samples)
    else:
        gradients = direction.new_empty(count, len(direction))  # stacking a list would double the memory
        for row, (x, y) in zip(gradients, pairs):
            _sample_gradient(task, x, y, out=row)
        step = woodbury(gradients, direction, dampening=dampening)
    start = 0
    with torch.no_grad():
        for parameter in task.model.parameters():
            end = start + parameter.numel()
            parameter.add_(alpha * step[start:end].view_as(parameter))
            start = end


def woodbury(gradients: Tensor, vector: Tensor, *, dampening: float) -> Tensor:
    """Return (dampening I + G^T G / n)^-1 v for gradients G (n, P) by solving a system of n equations."""
    n = len(gradients)
    system = gradients @ gradients.T + n * dampening * torch.eye(n, dtype=vector.dtype, device=vector.device)
    solution: Tensor = torch.linalg.solve(system, gradients @ vector)
    return (vector - gradients.T @ solution) / dampening


def recursion(gradients: Iterable[Tensor], vector: Tensor, *, samples: int) -> Tensor:
    """Return what the released code computes instead of the inverse Fisher matrix times the vector."""
    result, basis = vector.clone(), None
    for gradient in gradients:
        if basis is None:
            basis = gradient.clone()
            continue
        scale = samples + basis @ gradient
        result = result - (result @ gradient) / scale * basis
        basis = basis - (basis @ gradient) / scale * basis
    return result


def _sample_gradient(task: UnlearningTask, x: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    with task.eval_mode() as model:
        gradients = task.gradients(task.loss(model(x), y), list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients], out=out)


def _flat(parts: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts.values()])
