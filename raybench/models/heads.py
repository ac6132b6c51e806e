"""The classification head of a model: its name, its number of outputs, and the features that it reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from raybench.errors import UserError


def head_name(model: nn.Module) -> str:
    """Return the name of the classification head.

    A model with `get_classifier`, as those of timm have, names it; otherwise it is the last linear layer, else the last
    convolution.
    """
    get_classifier: Any = getattr(model, "get_classifier", None)
    classifier = get_classifier() if callable(get_classifier) else None
    if isinstance(classifier, nn.Linear | nn.Conv2d):
        return next(str(name) for name, layer in model.named_modules() if layer is classifier)
    for kind in (nn.Linear, nn.Conv2d):
        layers = [str(name) for name, layer in model.named_modules() if isinstance(layer, kind)]
        if layers:
            return layers[-1]
    raise UserError(f"{type(model).__name__} has no linear or convolutional head to read features from")


def num_outputs(model: nn.Module) -> int:
    """Return the number of logits of the model."""
    head = model.get_submodule(head_name(model))
    assert isinstance(head, nn.Linear | nn.Conv2d)
    return head.out_features if isinstance(head, nn.Linear) else head.out_channels


def feature_size(model: nn.Module) -> int:
    """Return the width of the features that the head reads."""
    head = model.get_submodule(head_name(model))
    assert isinstance(head, nn.Linear | nn.Conv2d)
    return head.in_features if isinstance(head, nn.Linear) else head.in_channels


@dataclass
class Tap:
    """The penultimate features of the latest forward pass, (B, D)."""

    features: Tensor | None = None


@contextmanager
def feature_tap(model: nn.Module) -> Iterator[Tap]:
    """Record the input of the head in forward passes; spatial maps of convolutional heads are averaged to (B, D)."""
    tap = Tap()

    def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        value = inputs[0]
        tap.features = value.mean(dim=(2, 3)) if value.ndim == 4 else value

    handle = model.get_submodule(head_name(model)).register_forward_pre_hook(record)
    try:
        yield tap
    finally:
        handle.remove()
