"""Find plug-ins: a new method, metric, dataset or forget rule is one file, and its name is the function's.

A decorator leaves its spec on the function as the attribute `raybench_spec`; `discover` imports the modules of a
package and collects the functions that carry a spec of the asked type. There is no list to edit and no global to fill.
"""

import functools
import hashlib
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raybench.errors import UserError, unknown

ATTRIBUTE = "raybench_spec"


@functools.cache
def discover(package: str, spec_type: type) -> dict[str, Callable[..., Any]]:
    """Return {name: function} for every function in `package` that carries a `spec_type`, sorted by name.

    A trailing underscore is not part of the name, so that `class_` can be called `class`.
    """
    root = importlib.import_module(package)
    modules = [importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(root.__path__)]
    found: dict[str, Callable[..., Any]] = {}
    for module in modules:
        for name, value in vars(module).items():
            defined_here = getattr(value, "__module__", None) == module.__name__
            if defined_here and isinstance(getattr(value, ATTRIBUTE, None), spec_type):
                found[name.rstrip("_")] = value
    return dict(sorted(found.items()))


def find(kind: str, name: str, package: str, spec_type: type) -> Callable[..., Any]:
    """Return the plug-in called `name`: one of the package, or any importable `module.function` of the user's own."""
    known = discover(package, spec_type)
    if name in known:
        return known[name]
    if "." not in name:
        raise unknown(kind, name, known, hint="; or name your own as package.module.function")
    function = imported(kind, name)
    if not isinstance(getattr(function, ATTRIBUTE, None), spec_type):
        raise UserError(
            f"{name!r} is not a {kind}: decorate it with @{spec_type.__name__.lower().removesuffix('spec')}"
        )
    return function


def imported(kind: str, name: str) -> Callable[..., Any]:
    """Return what `package.module.function` names; raises UserError, naming the `kind`, where there is none."""
    module_name, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"cannot import {kind} {name!r}: {error} (is its folder on PYTHONPATH, or the current one?)"
        ) from error


def source_fingerprint(function: Callable[..., Any]) -> str:
    """Return a hash of the file that defines the function: editing a plug-in makes what it made before stale."""
    file = inspect.getsourcefile(function)
    if file is None:
        raise UserError(f"{function} has no source file: define it in a module, so that its results can be told apart")
    return hashlib.blake2b(Path(file).read_bytes(), digest_size=8).hexdigest()
