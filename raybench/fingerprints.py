"""Fingerprints of code: which results an edit of a source file makes stale.

A fingerprint covers the file that defines a function and every file that this file imports, directly or through others,
as long as it belongs to raybench or lies beside the function's own package. What is hashed is the syntax tree without
docstrings, comments, annotations of layout, and the descriptive fields of decorators (`PROSE`): an edit of the maths
makes results stale, an edit of the documentation does not.
"""

import ast
import functools
import hashlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raybench.errors import UserError

PACKAGE = "raybench"
# names, messages and progress decide no number; a change there must not make results stale
IGNORED = frozenset({"raybench", "raybench.errors", "raybench.registry", "raybench.fingerprints", "raybench.progress"})
# arguments of @method, @metric, @dataset and @forget_rule that only describe
PROSE = frozenset(
    {"source", "formula", "passes", "needs", "cost", "caution", "released", "small_models", "summary", "description"}
)


def code_fingerprint(function: Callable[..., Any]) -> str:
    """Return a hash of the code behind a function: its own file and everything it imports of the same packages.

    Raises UserError for a function that is defined in no file.
    """
    file = inspect.getsourcefile(function)
    if file is None:
        raise UserError(f"{function} has no source file: define it in a module, so that its results can be keyed")
    files = _closure(inspect.getmodule(function), Path(file))
    parts = sorted(_code(path, _version(path)) for path in files)  # the same wherever raybench is installed
    return hashlib.blake2b(b"".join(parts), digest_size=8).hexdigest()


def _closure(module: Any, file: Path) -> set[Path]:
    """Return the file and the files it imports, transitively, within raybench and the function's own package."""
    top = (module.__name__ if module is not None else file.stem).partition(".")[0]
    files, waiting = {file}, [file]
    while waiting:
        current = waiting.pop()
        for name in _imported_names(current, _version(current)):
            path = _file_of(name, top, file.parent)
            if path is not None and path not in files:
                files.add(path)
                waiting.append(path)
    return files


@functools.lru_cache(maxsize=4096)
def _file_of(module: str, top: str, folder: Path) -> Path | None:
    """Return the source file of an imported module, or None where it is another library's."""
    if module in IGNORED:
        return None
    if module.partition(".")[0] not in (PACKAGE, top) and not (folder / f"{module.partition('.')[0]}.py").is_file():
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):  # `from package import name` where the name is no module
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.origin.endswith(".py") else None


@functools.lru_cache(maxsize=1024)
def _imported_names(path: Path, version: tuple[int, int]) -> tuple[str, ...]:
    """Return the modules that a file imports; for `from a import b` both `a` and, in case it is a module, `a.b`."""
    names: dict[str, None] = {}
    package = _package_of(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*package[: len(package) - node.level + 1], node.module or ""]) if node.level else node.module
            )
            base = (base or "").rstrip(".")
            names |= {base: None, **{f"{base}.{alias.name}": None for alias in node.names}}
    return tuple(names)


def _version(path: Path) -> tuple[int, int]:
    """Return what a change of a file's content changes: an edited plug-in is hashed again within one process."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _package_of(path: Path) -> list[str]:
    parts: list[str] = []
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return parts


@functools.lru_cache(maxsize=1024)
def _code(path: Path, version: tuple[int, int]) -> bytes:
    """Return what a file computes: its syntax tree without prose and positions."""
    tree = _Prose().visit(ast.parse(path.read_text(encoding="utf-8")))
    return hashlib.blake2b(f"{path.name}\n{ast.dump(tree)}".encode(), digest_size=16).digest()


class _Prose(ast.NodeTransformer):
    """Remove docstrings (any statement that is only a string) and descriptive arguments of decorators."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call):
                decorator.keywords = [keyword for keyword in decorator.keywords if keyword.arg not in PROSE]
        return self.generic_visit(node)
