"""Unlearning methods.

Every module in this folder is one method or one family of methods; the registry finds them by their `@method`
decorator. The subpackages are machinery: `framework` defines what a method is and what it works on (`UnlearningTask`),
`building_blocks` holds computations that several methods share. No method module imports another one.
"""

from collections.abc import Callable

from raybench import registry
from raybench.methods.framework.spec import MethodSpec


def names() -> list[str]:
    """Return the names of the built-in methods."""
    return list(registry.discover(__name__, MethodSpec))


def get(name: str) -> Callable[..., None]:
    """Return a built-in method by name, or a user-defined one by its import path (`package.module.function`)."""
    return registry.find("method", name, __name__, MethodSpec)
