"""Selective synaptic dampening (SSD): shrink the weights that matter more to the forget set than to the rest."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from raybench.methods.building_blocks.importance import Importance, Per, absolute_gradients, squared_gradients
from raybench.methods.framework.spec import Rate, method
from raybench.methods.framework.task import UnlearningTask

Selection = Annotated[float, Field(gt=0, description="dampen weights whose importance ratio I_f / I_ref is larger")]
Reference = Annotated[
    Literal["retain", "full"],
    Field(description="I_ref is the importance to the retain set, or to retain and forget together"),
]
Importances = Annotated[Per, Field(description="gradients of single samples, or of batch means")]
FORMULA = "theta *= min(1, (dampening I_ref / I_f)^exponent) where I_f > selection I_ref"
PASSES = "once, forget and reference: 1 forward, 1 backward"


@method(
    source="Foster et al. 2024, arXiv 2308.07707",
    formula=f"{FORMULA}, I = mean squared gradient",
    passes=PASSES,
    released="Squares batch-mean gradients, which is not the Fisher information, over the whole training set.",
    presets={
        "conformal": {"selection": 10.0, "reference": "full", "importance": "batch", "shuffle": False, "batch_size": 64}
    },
    search={"selection": {"loguniform": [1.2, 10.0]}},
    limits="Made for forgetting whole classes. No weight matters much more to a random forget set than to the rest, "
    "so the default changes little there, and a smaller `selection` damages the model.",
)
def ssd(
    task: UnlearningTask,
    *,
    selection: Selection = 5.0,
    dampening: Rate = 1.0,
    exponent: Rate = 1.0,
    reference: Reference = "retain",
    importance: Importances = "sample",
) -> None:
    """Dampen weights by the ratio of their importance to the rest and to the forget set; no training.

    With `reference: full` the ratio I_f / I_ref is at most the number of samples (or batches) of the whole set divided
    by that of the forget set, so larger values of `selection` change nothing: 10 if a tenth is forgotten.

    Args:
        dampening, exponent: strength of the dampening.
    """
    measure = partial(squared_gradients, task, per=importance)
    _dampen(task, measure, reference, selection=selection, dampening=dampening, exponent=exponent)


@method(
    source="Foster et al. 2024, arXiv 2402.19308",
    formula=f"{FORMULA}, I = mean |gradient of |f(x)|^2|",
    passes=PASSES,
    search={"selection": {"loguniform": [1.01, 10.0]}},
    limits="Made for forgetting whole classes. No weight matters much more to a random forget set than to the rest, so "
    "the default changes nothing there, and a smaller `selection` damages the model.",
)
def lfssd(
    task: UnlearningTask,
    *,
    selection: Selection = 10.0,
    dampening: Rate = 1.0,
    exponent: Rate = 1.0,
    reference: Reference = "retain",
    importance: Importances = "sample",
) -> None:
    """Dampen as SSD does, with an importance that needs no labels: the gradient of the squared length of the output.

    Args:
        dampening, exponent: strength of the dampening.
    """
    measure = partial(absolute_gradients, task, per=importance, rows=_squared_length)
    _dampen(task, measure, reference, selection=selection, dampening=dampening, exponent=exponent)


def damping_factors(forget: Tensor, rest: Tensor, selection: float, dampening: float, exponent: float) -> Tensor:
    """Return the factor of each weight, 1 for weights that are not selected."""
    ratio = torch.where(forget > 0, dampening * rest / forget, torch.ones_like(forget))
    return torch.where(forget > selection * rest, ratio.pow(exponent).clamp(max=1), torch.ones_like(forget))


def _dampen(
    task: UnlearningTask,
    measure: Callable[[Iterable[tuple[Tensor, Tensor]]], Importance],
    reference: Reference,
    *,
    selection: float,
    dampening: float,
    exponent: float,
) -> None:
    """Shrink the selected weights in place; no weight grows or changes sign."""
    forget = measure(task.forget())
    rest = measure(task.retain() if reference == "retain" else ((x, y) for x, y, _ in task.mixed()))
    with torch.no_grad():
        for name, parameter in task.model.named_parameters():
            parameter.mul_(damping_factors(forget[name], rest[name], selection, dampening, exponent))


def _squared_length(logits: Tensor, _: Tensor) -> Tensor:
    return logits.square().sum(dim=1)
