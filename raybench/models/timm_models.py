"""Models of the library timm, named `timm:<name>`: an optional extra, untrained, never downloaded."""

from types import ModuleType
from typing import Any

from torch import nn

from raybench.errors import UserError, unknown

PREFIX = "timm:"


def is_timm(name: str) -> bool:
    """Return whether a model name refers to timm."""
    return name.startswith(PREFIX)


def check_name(name: str) -> None:
    """Raise UserError if timm is not installed, or for a name that it does not have."""
    timm = _library(name)
    if not timm.is_model(name.removeprefix(PREFIX)):
        known = [PREFIX + other for other in timm.list_models()]
        raise unknown("model", name, known, hint="; all of them: python -c 'import timm; print(timm.list_models())'")


def has_fixed_size(name: str) -> bool:
    """Return whether the model is built for one image size, as a vision transformer with position embeddings is."""
    config = _library(name).get_pretrained_cfg(name.removeprefix(PREFIX), allow_unregistered=True)
    return bool(config is not None and config.fixed_input_size)


def build(name: str, *, num_classes: int, channels: int, image_size: int | None) -> nn.Module:
    """Build the model from torch's global random state; `image_size` in pixels is used where the size is fixed."""
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
    if image_size is not None and has_fixed_size(name):
        options["img_size"] = image_size
    try:
        model: nn.Module = _library(name).create_model(name.removeprefix(PREFIX), pretrained=False, **options)
    except Exception as error:  # timm raises what its model's code raises, for example for a size it cannot divide
        shown = ", ".join(f"{key}={value}" for key, value in options.items())
        reason = str(error) or type(error).__name__
        raise UserError(f"model {name!r} cannot be built with {shown}: {reason}") from error
    return model


def _library(name: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise UserError(f"model {name!r} needs the library timm: pip install 'raybench[timm]'") from error
    return timm
