"""Selective synaptic dampening: shrink the weights that matter more to the forget set than to the rest."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from raybench.methods.building_blocks.importance import Importance, Per, absolute_gradients, squared_gradients
from raybench.methods.framework.spec import Rate, method
from raybench.methods.framework.task import UnlearningTask

Reference = Literal["retain", "full"]
FORMULA = "theta *= min(1, (dampening I_ref / I_f)^exponent) where I_f > selection I_ref"
PASSES = "once, forget and reference: 1 forward, 1 backward"


@method(
    source="Foster et al. 2024, arXiv 2308.07707",
    formula=f"{FORMULA}, I = mean squared gradient",
    passes=PASSES,
    presets={"conformal": {"reference": "full", "importance": "batch", "shuffle": False, "batch_size": 64}},
)
def ssd(
    task: UnlearningTask,
    *,
    selection: Rate = 10.0,
    dampening: Rate = 1.0,
    exponent: Rate = 1.0,
    reference: Reference = "retain",
    importance: Per = "sample",
) -> None:
    """Dampen weights by the ratio of their importance to the rest and to the forget set; no training.

    With `reference: full` the ratio I_f / I_ref is at most the number of samples (or batches) of the whole set over
    that of the forget set, so that a larger `selection` changes nothing: 10 for a tenth forgotten.

    Released: squares batch-mean gradients, which is no Fisher information, over the whole training set.

    Args:
        selection: dampen where the forget importance is this many times the reference's.
        dampening, exponent: strength of the dampening.
        reference: importance to the retain set, or to retain and forget together.
        importance: squared gradients of single samples, or of batch means.
    """
    dampen(
        task,
        forget=squared_gradients(task, task.forget(), per=importance),
        rest=squared_gradients(task, _reference(task, reference), per=importance),
        selection=selection,
        dampening=dampening,
        exponent=exponent,
    )


@method(
    source="Foster et al. 2024, arXiv 2402.19308",
    formula=f"{FORMULA}, I = mean |gradient of |f(x)|^2|",
    passes=PASSES,
)
def lfssd(
    task: UnlearningTask,
    *,
    selection: Rate = 10.0,
    dampening: Rate = 1.0,
    exponent: Rate = 1.0,
    reference: Reference = "retain",
    importance: Per = "sample",
) -> None:
    """Dampen as SSD does, with an importance that needs no labels: how the length of the output depends on a weight.

    On small models: a forget set drawn at random matters to no weight much more than the rest does (absolute gradients
    differ less than squared ones), so that the default selects nothing; a `selection` of 1.05 does.

    Args:
        selection: dampen where the forget importance is this many times the reference's.
        dampening, exponent: strength of the dampening.
        reference: importance to the retain set, or to retain and forget together.
        importance: gradients of single samples, or of batch means.
    """

    def squared_length(logits: Tensor, _: Tensor) -> Tensor:
        return logits.square().sum(dim=1)

    dampen(
        task,
        forget=absolute_gradients(task, task.forget(), per=importance, rows=squared_length),
        rest=absolute_gradients(task, _reference(task, reference), per=importance, rows=squared_length),
        selection=selection,
        dampening=dampening,
        exponent=exponent,
    )


@torch.no_grad()
def dampen(
    task: UnlearningTask, *, forget: Importance, rest: Importance, selection: float, dampening: float, exponent: float
) -> None:
    """Shrink the model's selected weights in place; no weight grows or changes sign."""
    for name, parameter in task.model.named_parameters():
        parameter.mul_(damping_factors(forget[name], rest[name], selection, dampening, exponent))


def damping_factors(forget: Tensor, rest: Tensor, selection: float, dampening: float, exponent: float) -> Tensor:
    """Return what each weight is multiplied by; 1 where it is not selected."""
    ratio = torch.where(forget > 0, dampening * rest / forget, torch.ones_like(forget))
    return torch.where(forget > selection * rest, ratio.pow(exponent).clamp(max=1), torch.ones_like(forget))


def _reference(task: UnlearningTask, reference: Reference) -> Iterable[tuple[Tensor, Tensor]]:
    return task.retain() if reference == "retain" else ((x, y) for x, y, _ in task.mixed())
