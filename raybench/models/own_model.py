"""The user's own architecture: a function, named `package.module.function`, that returns a torch module."""

import inspect
from typing import Any

from torch import nn

from raybench import registry
from raybench.errors import UserError
from raybench.fingerprints import code_fingerprint

GIVEN = ("channels", "image_size")  # passed where the function takes them, beside num_classes


def is_own(name: str) -> bool:
    """Say whether a model's name is that of a function of the user's own."""
    return "." in name


def arguments(name: str) -> list[str]:
    """Return which of num_classes, channels, image_size the function takes; raises UserError without the first."""
    function = registry.imported("model", name)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise UserError(f"model {name!r} cannot be called: {error}") from error
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "num_classes" not in parameters and not anything:
        raise UserError(
            f"model {name!r} should be a function that takes num_classes=... and returns a torch module; it takes "
            f"({', '.join(parameters)})"
        )
    return ["num_classes", *(key for key in GIVEN if key in parameters)]


def build(name: str, **given: Any) -> nn.Module:
    """Call the function with what it takes of `given`: num_classes, the images' channels and their side in pixels."""
    built = registry.imported("model", name)(**{key: given[key] for key in arguments(name)})
    if not isinstance(built, nn.Module):
        raise UserError(f"model {name!r} returned {type(built).__name__}, not a torch module")
    return built


def source_fingerprint(name: str) -> str:
    """Return a hash of the file that defines the function."""
    return code_fingerprint(registry.imported("model", name))
