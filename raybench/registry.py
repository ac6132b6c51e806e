"""Find plug-ins by their decorator: methods, metrics, data set formats and forget rules.

A decorator attaches a spec to a function; `discover` imports the modules of a package and collects the functions that
carry a spec of one type. A new plug-in is a new file: there is no list to edit. Its name is the name of the function.
"""

import functools
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from raybench.errors import UserError, unknown

ATTRIBUTE = "raybench_spec"
MODULES = "RAYBENCH_MODULES"  # environment variable: the folder of user-defined modules, set by the command line

Function = TypeVar("Function", bound=Callable[..., Any])
Spec = TypeVar("Spec")


def attach(function: Function, spec: object) -> Function:
    """Attach a spec to a function and return the function; the decorators of plug-ins call this."""
    setattr(function, ATTRIBUTE, spec)
    return function


def has_spec(function: object, spec_type: type) -> bool:
    """Return whether a function carries a spec of this type."""
    return isinstance(getattr(function, ATTRIBUTE, None), spec_type)


def spec_of(function: Callable[..., Any], spec_type: type[Spec]) -> Spec:
    """Return the spec that a decorator attached; raise UserError for a function without that decorator."""
    spec = getattr(function, ATTRIBUTE, None)
    if not isinstance(spec, spec_type):
        name, kind = getattr(function, "__name__", repr(function)), _decorator(spec_type)
        raise UserError(f"{name!r} is not a {kind.replace('_', ' ')}: decorate it with @{kind}")
    return spec


@functools.cache
def discover(package: str, spec_type: type) -> dict[str, Callable[..., Any]]:
    """Return {name: function} of the functions in a package that carry a `spec_type`, sorted by name.

    A trailing underscore is not part of the name, so `class_` is called `class`.
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
    """Return the plug-in called `name`: one of the package, or a user-defined `package.module.function`.

    Raises UserError, naming the `kind` of plug-in, for an unknown name and for a function without the decorator.
    """
    shipped = discover(package, spec_type)
    if name in shipped:
        return shipped[name]
    if "." not in name:
        raise unknown(kind, name, shipped, hint="; or name your own function as package.module.function")
    function = imported(kind, name)
    if not has_spec(function, spec_type):
        raise UserError(f"{name!r} is not a {kind}: decorate it with @{_decorator(spec_type)}")
    return function


def imported(kind: str, name: str) -> Callable[..., Any]:
    """Import `package.module.function`; raise UserError, naming the `kind` of function, if that fails.

    The folder of user-defined modules is searched last, and only once an experiment names a function that is nowhere
    else: a file in it can neither replace an installed module nor run for another reason.
    """
    module_name, _, attribute = name.rpartition(".")
    top, folder = module_name.partition(".")[0], os.environ.get(MODULES, "")
    try:
        if folder and folder not in sys.path and _module_file(folder, top) and not _is_installed(top):
            sys.path.append(folder)
            importlib.invalidate_caches()
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        reason = error if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        hint = "is its folder on PYTHONPATH, or the current folder?"
        shadowed = _module_file(folder, top) if folder and top in sys.modules else None
        if shadowed and not str(getattr(sys.modules[top], "__file__", "")).startswith(shadowed):
            hint = f"an installed module is called {top!r} too, so {shadowed!r} is not imported; rename it"
        raise UserError(f"cannot import {kind} {name!r}: {reason} ({hint})") from error
    return function


def _module_file(folder: str, top: str) -> str | None:
    """Return the file or folder of a top-level module in a folder, or None."""
    paths = (os.path.join(folder, file) for file in (top, f"{top}.py"))
    return next((path for path in paths if top and os.path.exists(path)), None)


def _is_installed(top: str) -> bool:
    return top in sys.modules or importlib.util.find_spec(top) is not None


def _decorator(spec_type: type) -> str:
    """Return the name of a spec type's decorator: `method` for MethodSpec, `forget_rule` for ForgetRuleSpec."""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in spec_type.__name__)
    return words.removeprefix("_").removesuffix("_spec")
