"""Which weights matter to the forget set: the saliency mask of Fan et al. 2024 (arXiv 2310.12508)."""

import torch
from torch import Tensor

from raybench.methods.framework.task import UnlearningTask


def summed_gradient(task: UnlearningTask) -> dict[str, Tensor]:
    """Return the signed gradients of -loss summed over the batches of one forget pass, in eval mode."""
    parameters = task.parameters
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    with task.eval_mode() as model:
        for x, y in task.forget():
            gradients = task.gradients(-task.loss(model(x), y), list(parameters.values()))
            torch._foreach_add_(list(total.values()), gradients)
    return total


def top_share(scores: dict[str, Tensor], density: float) -> dict[str, Tensor]:
    """Mark the `density` share of all entries with the largest scores, ranked over all tensors together.

    Ties go to the earlier position: dead units make many exact zeros, which an unstable sort would pick at random.
    """
    flat = torch.cat([score.flatten() for score in scores.values()])
    order = torch.argsort(flat, descending=True, stable=True)
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen[order[: int(density * len(flat))]] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts)}


def saliency_mask(task: UnlearningTask, density: float) -> dict[str, Tensor]:
    """Return, by parameter name, where the forget loss is most sensitive: the top `density` of |summed gradient|."""
    return top_share({name: gradient.abs() for name, gradient in summed_gradient(task).items()}, density)
