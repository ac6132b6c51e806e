"""Unlearning methods: one small file per method or family, found by their decorator.

`names()` lists the registry, `get(name)` returns a function of it or any importable `module.function`.
"""

from collections.abc import Callable

from raybench import registry
from raybench.methods.framework.spec import MethodSpec


def names() -> list[str]:
    """Return the names of the methods that ship with raybench."""
    return list(registry.discover(__name__, MethodSpec))


def get(name: str) -> Callable[..., None]:
    """Return the method called `name`, built in or the user's own (`package.module.function`)."""
    return registry.find("method", name, __name__, MethodSpec)
