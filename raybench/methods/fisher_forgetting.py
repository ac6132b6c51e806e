"""Fisher forgetting: add noise to every weight, more to those that the retain set needs less."""

from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from raybench.engine.losses import log_likelihood
from raybench.methods.building_blocks.importance import Importance, expected_fisher, squared_gradients
from raybench.methods.framework.presets import UUEF
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import Batch, UnlearningTask
from raybench.models import head_name


@method(
    source="Golatkar et al. 2020, arXiv 1911.04933",
    formula="theta + sqrt(alpha var) N(0, 1), var = min(1 / F, 1000), F the diagonal Fisher of the retain set",
    passes="once, retain: 1 forward, K backwards (`observed`: 1)",
    released="`uuef` uses the Fisher information of the true labels and bounds the noise at 1e-3; its second form, and "
    "the code of `conformal`, treat every tensor of K rows as if it were the head.",
    targets=("single_label",),
    presets={
        "conformal": {"alpha": 1e-6, "fisher": "expected", "noise": "variance"},
        "uuef": {"batch_size": UUEF["batch_size"], "alpha": 0.2, "fisher": "observed", "noise": "clamped"},
        "uuef_batch": {"batch_size": UUEF["batch_size"], "alpha": 0.2, "fisher": "expected_batch", "noise": "variance"},
    },
    search={"alpha": {"loguniform": [1e-07, 5e-06]}},
    limits="Made for forgetting whole classes. On a random forget set, noise that is large enough to forget damages "
    "the model.",
)
def fisher_forgetting(
    task: UnlearningTask,
    *,
    alpha: Rate = 1e-6,
    fisher: Literal["expected", "observed", "expected_batch"] = "expected",
    noise: Literal["variance", "clamped"] = "variance",
    max_batches: Count | None = None,
) -> None:
    """Add Gaussian noise to all weights at once, with a variance bounded by the Fisher information of the retain set.

    With `noise: variance` the variance of the head is capped at 100 before alpha, the variance of a weight is averaged
    over its second axis, and that of biases and norms is multiplied by 10. If exactly one whole class is forgotten, its
    row of the head is replaced by noise, and the variance of the head is multiplied by 10 too.

    Args:
        alpha: scale of the noise.
        fisher: over labels drawn from the model, over the true labels, or the former from batch-mean gradients.
        noise: `variance` as in the formula, or N(0, 1) min(sqrt(alpha / F), 1e-3).
        max_batches: number of retain batches for the Fisher information; None: all.
    """
    information = _information(task, fisher, max_batches)
    head = head_name(task.model)
    forgotten = _forgotten_class(task)
    with torch.no_grad():
        for name, parameter in task.model.named_parameters():
            if noise == "clamped":
                scale = (alpha / information[name]).sqrt().clamp(max=1e-3)
                parameter.add_(scale * torch.randn_like(parameter))
                continue
            is_head = name in (f"{head}.weight", f"{head}.bias")
            variance = noise_variance(information[name], alpha, cap=1e2 if is_head else 1e3)
            mean = parameter.clone()
            if is_head and forgotten is not None:
                mean[forgotten], variance[forgotten] = 0, 1e-4
            if parameter.ndim == 1 or (is_head and forgotten is not None):
                variance = variance * 10
            parameter.copy_(mean + variance.sqrt() * torch.randn_like(parameter))


def noise_variance(information: Tensor, alpha: float, *, cap: float) -> Tensor:
    """Return alpha min(1 / F, cap), averaged over the second axis of a weight."""
    variance = alpha * (1 / (information + 1e-8)).clamp(max=cap)
    return variance.mean(dim=1, keepdim=True).expand_as(variance).clone() if variance.ndim > 1 else variance


def _information(task: UnlearningTask, fisher: str, max_batches: int | None) -> Importance:
    batches: islice[Batch] = islice(task.retain(), max_batches)
    if fisher == "observed":
        return squared_gradients(task, batches, rows=log_likelihood)
    return expected_fisher(task, batches, per="sample" if fisher == "expected" else "batch")


def _forgotten_class(task: UnlearningTask) -> int | None:
    classes = torch.unique(task.forget_labels)
    if len(classes) != 1 or bool((task.retained_classes == classes[0]).any()):
        return None
    return int(classes[0])
