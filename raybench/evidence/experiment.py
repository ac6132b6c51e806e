"""The experiment as it is filed: to run again from inside the folder, with its modules and lists, without paths."""

import inspect
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from raybench import registry
from raybench.config.schema import Experiment
from raybench.config.user_models import CHECKPOINTS
from raybench.errors import UserError
from raybench.evidence.hashes import hash_file
from raybench.fingerprints import source_files

FOLDER = "experiment"
FILE = f"{FOLDER}/experiment.yaml"
WEIGHTS = (("model", "checkpoint"), ("model", "init"))  # large, and an original still knows the forgotten samples
LARGEST_COPY = 50_000_000  # bytes of a list


@dataclass
class FiledExperiment:
    """What is in the folder of the experiment, and what the one who runs it again must add."""

    modules: list[str] = field(default_factory=list)  # files of user-defined functions
    lists: list[str] = field(default_factory=list)  # id lists, class lists, scores
    needed: list[dict[str, Any]] = field(default_factory=list)  # key, file to put there, sha256 (None for a folder)


def write_experiment(folder: Path, text: str, experiment: Experiment) -> FiledExperiment:
    """Write `experiment/` below the evidence folder.

    `text` is the resolved experiment. Raises UserError if a module of the user cannot be found.
    """
    target = folder / FOLDER
    target.mkdir()
    filed = FiledExperiment()
    for file, relative in _modules(experiment):
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / relative)
        filed.modules.append(relative.as_posix())
    content = _filed(yaml.safe_load(text), (), target, filed)
    (folder / FILE).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return filed


def _filed(value: Any, key: tuple[str, ...], target: Path, filed: FiledExperiment) -> Any:
    """Return a value of the experiment with paths inside the folder; copy lists, note what is needed."""
    if isinstance(value, dict):
        return {name: _filed(item, (*key, str(name)), target, filed) for name, item in value.items()}
    if isinstance(value, list):
        return [_filed(item, key, target, filed) for item in value]
    if not isinstance(value, str) or not value.startswith(("/", "~")):
        return value
    path = Path(value).expanduser()
    is_model = key in WEIGHTS or key[-1] == CHECKPOINTS
    if path.is_file() and not is_model and key[-1] != "root" and path.stat().st_size <= LARGEST_COPY:
        name = _free_name(target, path.name)
        shutil.copyfile(path, target / name)
        filed.lists.append(name)
        return name
    name = path.name or "data"
    filed.needed.append({"key": ".".join(key), "file": name, "sha256": hash_file(path) if path.is_file() else None})
    return name


def _free_name(folder: Path, name: str) -> str:
    path, number = Path(name), 1
    while (folder / name).exists():
        number += 1
        name = f"{path.stem}-{number}{path.suffix}"
    return name


def _modules(experiment: Experiment) -> Iterator[tuple[Path, Path]]:
    """Yield the source files of the user's functions, and of the files that they import, with their relative paths."""
    written: set[Path] = set()
    for kind, name in _user_functions(experiment):
        function = registry.imported(kind, name)
        file = inspect.getsourcefile(function)
        if file is None:
            raise UserError(f"{kind} {name!r} has no source file, so it cannot be filed")
        # the folder on the import path: `package.module` is two levels above its file
        depth = function.__module__.count(".") + (Path(file).name == "__init__.py")
        root = Path(file).resolve().parents[depth]
        for path in sorted(source_files(function)):
            path = path.resolve()
            if path.is_relative_to(root) and path not in written and "raybench" not in path.relative_to(root).parts[:1]:
                written.add(path)
                yield path, path.relative_to(root)
                yield from _package_files(path, root, written)


def _package_files(path: Path, root: Path, written: set[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield the `__init__.py` of the packages around a file."""
    for parent in path.relative_to(root).parents:
        init = root / parent / "__init__.py"
        if parent != Path() and init.is_file() and init not in written:
            written.add(init)
            yield init, init.relative_to(root)


def _user_functions(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """Yield kind and name of every function of the experiment that is not raybench's own."""
    metrics = experiment.evaluate.metrics
    names: list[tuple[str, str]] = [
        *(("method", experiment.function_name(method)) for method in experiment.methods),
        *(("metric", name) for name in (metrics if isinstance(metrics, list | Mapping) else [])),
        ("dataset", experiment.data.dataset),
        *(("dataset", downstream.dataset) for downstream in experiment.evaluate.downstream.values()),
        ("forget rule", experiment.forget.rule),
        ("model", experiment.model.name),
    ]
    yield from ((kind, name) for kind, name in dict.fromkeys(names) if "." in name and not name.startswith("raybench."))
