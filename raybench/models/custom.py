"""User-defined architectures: a function, named `package.module.function`, that returns a torch module."""

import inspect
from typing import Any

from torch import nn

from raybench import registry
from raybench.errors import UserError
from raybench.fingerprints import code_fingerprint

OPTIONAL = ("channels", "image_size")  # passed in addition to num_classes if the function has such an argument


def is_custom(name: str) -> bool:
    """Return whether a model name refers to a user-defined function; `timm:name.weights` does not."""
    return "." in name and ":" not in name


def arguments(name: str) -> list[str]:
    """Return which of num_classes, channels and image_size the function takes; num_classes is required."""
    function = registry.imported("model", name)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise UserError(f"model {name!r} cannot be called: {error}") from error
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "num_classes" not in parameters and not takes_any:
        raise UserError(
            f"model {name!r} should be a function that takes num_classes=... and returns a torch module; it takes "
            f"({', '.join(parameters)})"
        )
    return ["num_classes", *(key for key in OPTIONAL if key in parameters)]


def build(name: str, **available: Any) -> nn.Module:
    """Call the function with those of num_classes, channels and image_size that it takes."""
    model = registry.imported("model", name)(**{key: available[key] for key in arguments(name)})
    if not isinstance(model, nn.Module):
        raise UserError(f"model {name!r} returned {type(model).__name__}, not a torch module")
    return model


def source_fingerprint(name: str) -> str:
    """Hash the code of the function and of what it imports from its package."""
    return code_fingerprint(registry.imported("model", name))
