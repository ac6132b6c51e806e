"""Fingerprints of code: they change when an edit could change the results of a function.

A fingerprint covers the file that defines the function and every file that it imports, directly or indirectly, from
raybench or from the package of the function. It hashes the syntax tree without docstrings, comments, layout, arguments
of decorators that only describe (`PROSE`) and descriptions of pydantic fields. So an edit of the computation makes
stored results stale, and an edit of the documentation does not.
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
# names, messages and progress change no number, so an edit of these modules leaves results valid
IGNORED = frozenset(
    {"raybench", *(f"raybench.{name}" for name in ("errors", "limits", "registry", "fingerprints", "progress"))}
)
# arguments of @method, @metric, @dataset and @forget_rule that only describe
PROSE = frozenset(
    {"source", "formula", "passes", "needs", "cost", "caution", "released", "limits", "summary", "description"}
)


def code_fingerprint(function: Callable[..., Any]) -> str:
    """Return a hash of the file that defines a function and of the files it imports from raybench or its own package.

    Raises UserError for a function without a source file.
    """
    # sorted by content, so independent of the folder that raybench is installed in
    parts = sorted(_code(path, _version(path)) for path in source_files(function))
    return hashlib.blake2b(b"".join(parts), digest_size=8).hexdigest()


def source_files(function: Callable[..., Any]) -> set[Path]:
    """Return the file that defines a function and the files it imports from raybench or its own package.

    Raises UserError for a function without a source file.
    """
    file = inspect.getsourcefile(function)
    if file is None:
        raise UserError(
            f"{function} has no source file: define it in a module, so that its results can be stored by its code"
        )
    return _closure(inspect.getmodule(function), Path(file))


_closures: dict[tuple[str, Path], dict[Path, tuple[int, int]]] = {}  # by top-level package and file


def _closure(module: Any, file: Path) -> set[Path]:
    """Return the file and the files it imports, transitively, from raybench and from the package of `module`."""
    top = (module.__name__ if module is not None else file.stem).partition(".")[0]
    known = _closures.get((top, file))
    if known is not None and all(_is_unchanged(path, version) for path, version in known.items()):
        return set(known)
    files, waiting = {file: _version(file)}, [file]
    while waiting:
        current = waiting.pop()
        for name in _imported_names(current, files[current]):
            path = _file_of(name, top, file.parent)
            if path is not None and path not in files:
                files[path] = _version(path)
                waiting.append(path)
    _closures[top, file] = files
    return set(files)


def _is_unchanged(path: Path, version: tuple[int, int]) -> bool:
    try:
        return _version(path) == version
    except OSError:
        return False


@functools.lru_cache(maxsize=4096)
def _file_of(module: str, top: str, folder: Path) -> Path | None:
    """Return the source file of an imported module, or None for a module of another library."""
    if module in IGNORED:
        return None
    if module.partition(".")[0] not in (PACKAGE, top) and not (folder / f"{module.partition('.')[0]}.py").is_file():
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):  # in `from package import name`, the name may be no module
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.origin.endswith(".py") else None


@functools.lru_cache(maxsize=1024)
def _imported_names(path: Path, version: tuple[int, int]) -> tuple[str, ...]:
    """Return the modules that a file imports; for `from a import b` both `a` and `a.b`, which may be a module."""
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
    """Return modification time and size, so that a plug-in edited while the process runs is hashed again."""
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
    """Return a hash of the syntax tree of a file, without prose and positions."""
    tree = _Prose().visit(ast.parse(path.read_text(encoding="utf-8")))
    return hashlib.blake2b(f"{path.name}\n{ast.dump(tree)}".encode(), digest_size=16).digest()


class _Prose(ast.NodeTransformer):
    """Remove docstrings (any statement that is only a string), prose of decorators, and descriptions of fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call):
                decorator.keywords = [keyword for keyword in decorator.keywords if keyword.arg not in PROSE]
        return self.generic_visit(node)
