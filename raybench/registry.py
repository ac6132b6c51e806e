"""Find plug-ins: a new method, metric, data set format or forget rule is one file, and its name is the function's.

A decorator attaches a spec to the function; `discover` imports the modules of a package and collects the functions that
carry a spec of the given type. There is no list to edit and no global to fill. `code_fingerprint` is in `fingerprints`.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from raybench.errors import UserError, unknown

ATTRIBUTE = "raybench_spec"

Function = TypeVar("Function", bound=Callable[..., Any])
Spec = TypeVar("Spec")


def attach(function: Function, spec: object) -> Function:
    """Attach a spec to a function and return the function: what the decorators do."""
    setattr(function, ATTRIBUTE, spec)
    return function


def has_spec(function: object, spec_type: type) -> bool:
    """Return whether a function carries a spec of the given type."""
    return isinstance(getattr(function, ATTRIBUTE, None), spec_type)


def spec_of(function: Callable[..., Any], spec_type: type[Spec]) -> Spec:
    """Return the spec that a decorator attached; raise UserError for a function that was not decorated."""
    spec = getattr(function, ATTRIBUTE, None)
    if not isinstance(spec, spec_type):
        name, kind = getattr(function, "__name__", repr(function)), _decorator(spec_type)
        raise UserError(f"{name!r} is not a {kind.replace('_', ' ')}: decorate it with @{kind}")
    return spec


@functools.cache
def discover(package: str, spec_type: type) -> dict[str, Callable[..., Any]]:
    """Return {name: function} for every function in `package` that carries a `spec_type`, sorted by name.

    A trailing underscore is not part of the name, so that `class_` can be called `class`.
    """
    root = importlib.import_module(package)
    modules = [importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(root.__path__)]
    functions: dict[str, Callable[..., Any]] = {}
    for module in modules:
        for name, value in vars(module).items():
            defined_here = getattr(value, "__module__", None) == module.__name__
            if defined_here and has_spec(value, spec_type):
                functions[name.rstrip("_")] = value
    return dict(sorted(functions.items()))


def find(kind: str, name: str, package: str, spec_type: type) -> Callable[..., Any]:
    """Return the plug-in called `name`: one of the package, or any importable `package.module.function` of the user."""
    known = discover(package, spec_type)
    if name in known:
        return known[name]
    if "." not in name:
        raise unknown(kind, name, known, hint="; or name your own function as package.module.function")
    function = imported(kind, name)
    if not has_spec(function, spec_type):
        raise UserError(f"{name!r} is not a {kind}: decorate it with @{_decorator(spec_type)}")
    return function


def imported(kind: str, name: str) -> Callable[..., Any]:
    """Return the function called `package.module.function`; raise UserError, naming the `kind`, if there is none."""
    module_name, _, attribute = name.rpartition(".")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"cannot import {kind} {name!r}: {error} (is its folder on PYTHONPATH, or the current folder?)"
        ) from error
    return function


def _decorator(spec_type: type) -> str:
    """Return the decorator of a spec type: `method` of MethodSpec, `forget_rule` of ForgetRuleSpec."""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in spec_type.__name__)
    return words.removeprefix("_").removesuffix("_spec")
