"""The layout of raybench.methods: a method module imports machinery, never another method."""

import ast
import pkgutil
from pathlib import Path

import pytest

from raybench import methods

FOLDER = Path(methods.__file__).parent
MODULES = [info.name for info in pkgutil.iter_modules([str(FOLDER)]) if not info.ispkg]


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, `a.b` for `from a import b` too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_no_file_imports_a_method_module(path: Path) -> None:
    assert imported(path) & {f"raybench.methods.{name}" for name in MODULES} == set()
