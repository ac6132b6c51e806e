"""Words that the shell completes: experiment files, names of plug-ins, and runs of a local storage.

A shell asks at every press of the tab key, so nothing that takes long is imported: names of plug-ins are read from
source files, without running them.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
PLUG_INS = {  # folder and decorator of what `raybench list` lists
    "methods": ("methods", "method"),
    "metrics": ("metrics", "metric"),
    "datasets": ("data/formats", "dataset"),
    "rules": ("data/forget_rules", "forget_rule"),
}
MANIFEST = "manifest.json"  # in the folder of every run


def plug_ins(kind: str) -> list[str]:
    """Return the names of the plug-ins of a kind, sorted; empty for a kind without plug-ins."""
    if kind not in PLUG_INS:
        return sorted(path.stem for path in (PACKAGE / "paper_tables").glob("*.csv")) if kind == "tables" else []
    folder, decorator = PLUG_INS[kind]
    definition = re.compile(rf"^@{decorator}\(.*?^def (\w+)\(", re.MULTILINE | re.DOTALL)
    files = sorted((PACKAGE / folder).glob("*.py"))
    names = (name for file in files for name in definition.findall(file.read_text(encoding="utf-8")))
    return sorted(name.rstrip("_") for name in names)


def listed_names(ctx: Any, incomplete: str) -> list[str]:
    """Complete NAME of `raybench list WHAT NAME`."""
    return _starting_with(incomplete, plug_ins(str(ctx.params.get("what", ""))))


def method_names(incomplete: str) -> list[str]:
    """Complete the name of a method."""
    return _starting_with(incomplete, plug_ins("methods"))


def dataset_names(incomplete: str) -> list[str]:
    """Complete the name of a data set format."""
    return _starting_with(incomplete, plug_ins("datasets"))


def experiment_files(incomplete: str) -> list[str]:
    """Complete the path of an experiment file: YAML files, and folders with a slash to go on from."""
    head, slash, start = incomplete.rpartition("/")
    return [
        f"{head}{slash}{name}" for name in _entries(Path(head + slash or ".").expanduser()) if name.startswith(start)
    ]


def runs(ctx: Any, incomplete: str) -> list[str]:
    """Complete a run: the runs of the storage if it is a local folder, or experiment files."""
    storage = str(ctx.params.get("storage") or "runs")
    folder = Path(storage).expanduser()
    local = "://" not in storage and folder.is_dir()
    manifests = folder.glob(f"*/*/{MANIFEST}") if local else ()
    found = {name for path in manifests for name in (path.parts[-3], "/".join(path.parts[-3:-1]))}
    return [*_starting_with(incomplete, sorted(found)), *experiment_files(incomplete)]


def _starting_with(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _entries(folder: Path) -> Iterator[str]:
    """Yield the YAML files of a folder, and its folders with a slash; nothing for a folder that cannot be read."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield f"{entry.name}/"
        elif entry.suffix in (".yaml", ".yml"):
            yield entry.name
