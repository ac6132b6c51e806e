"""Weights that the forget loss is most sensitive to: the saliency mask of Fan et al. 2024 (arXiv 2310.12508)."""

import torch
from torch import Tensor

from raybench.methods.framework.task import UnlearningTask


def summed_gradient(task: UnlearningTask) -> dict[str, Tensor]:
    """Return the signed gradients of -loss, summed over the batches of one forget pass in eval mode."""
    parameters = task.parameters
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    with task.eval_mode() as model:
        for x, y in task.forget():
            gradients = task.gradients(-task.loss(model(x), y), list(parameters.values()))
            torch._foreach_add_(list(total.values()), gradients)
    return total


def top_fraction(scores: dict[str, Tensor], density: float) -> dict[str, Tensor]:
    """Mark the fraction `density` of all weights with the largest scores, ranked over all tensors together.

    Ties go to the earlier position: dead units produce many exact zeros, which an unstable sort would order randomly.
    """
    flat = torch.cat([score.flatten() for score in scores.values()])
    order = torch.argsort(flat, descending=True, stable=True)
    selected = torch.zeros_like(flat, dtype=torch.bool)
    selected[order[: int(density * len(flat))]] = True
    parts = torch.split(selected, [score.numel() for score in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts)}


def saliency_mask(task: UnlearningTask, density: float) -> dict[str, Tensor]:
    """Return, by parameter name, a mask of the fraction `density` of weights with the largest |summed gradient|."""
    return top_fraction({name: gradient.abs() for name, gradient in summed_gradient(task).items()}, density)
