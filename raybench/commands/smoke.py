"""Try experiments: each file's `smoke:` part put over it, then really run from images to report, in about a minute.

    smoke:
      fixture: {imagenet: {num_classes: 6}}  # options of the generated data, written where this part gives no root
      train: {epochs: 1}                     # and whatever else makes the experiment small

The data have the true layout of the real ones, so what runs is what a cluster would run, format and all.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raybench import data, registry
from raybench.config.reading import load_experiment, merge, read
from raybench.data import fixtures
from raybench.data.images import DatasetSpec
from raybench.distributed.cluster import Cluster
from raybench.errors import UserError
from raybench.pipeline.run import run
from raybench.progress import Reporter, clock
from raybench.storage.store import Store, fingerprint


@dataclass(frozen=True)
class Tried:
    """How one experiment's smoke run ended."""

    file: Path
    seconds: float
    error: str | None


def experiments(paths: Sequence[Path]) -> list[Path]:
    """Return the experiment files among `paths`, folders searched; a base that only others extend has no name."""
    found: list[Path] = []
    for path in paths:
        files = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
        found += [file for file in files if not path.is_dir() or "smoke" in _content(file)]
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: no experiment with a `smoke:` part")
    return found


def _content(file: Path) -> dict[str, Any]:
    text = yaml.safe_load(file.read_text(encoding="utf-8"))
    named = isinstance(text, dict) and "name" in text
    return read(file).content if named else {}


def smoke(paths: Sequence[Path], folder: Path, reporter: Reporter, *, address: str | None = None) -> Iterator[Tried]:
    """Run the smoke part of every file, all on one Ray; data, runs and tables go under `folder`."""
    files = experiments(paths)
    with Cluster(address, quiet=reporter.verbosity < 1) as cluster:
        cluster.start()  # the runs find it, and its workers warm
        for file in files:
            reporter.say(f"\n== {file}")
            started = time.monotonic()
            error = _run(file, folder, reporter)
            tried = Tried(file, time.monotonic() - started, error)
            reporter.say(f"{file}: {error or 'ran'} in {clock(tried.seconds)}")
            yield tried


def _run(file: Path, folder: Path, reporter: Reporter) -> str | None:
    """Run one file and return what went wrong; a fault of one experiment is shown, and the others go on."""
    try:
        experiment, text = load_experiment(small(file, folder))
        run(experiment, text, Store(str(folder)), reporter)
    except UserError as error:
        return str(error)
    except Exception as error:
        reporter.console.print_exception()
        return f"{type(error).__name__}: {error}"
    return None


def small(file: Path, folder: Path) -> Path:
    """Write the experiment file that the smoke part of `file` describes, and the data sets that it needs."""
    content = read(file).content
    part = content.pop("smoke", None)
    if not isinstance(part, dict):
        raise UserError(f"{file}: no `smoke:` part: it says what to change for a run of a minute")
    content.pop("extends", None)
    part = dict(part)
    options = part.pop("fixture", {})
    for images in (content["data"], *content.get("evaluate", {}).get("downstream", {}).values()):
        images.pop("root", None)  # of the real data; one that the smoke part gives is used as it is
    merged = merge(content, part)
    for images in (merged["data"], *merged.get("evaluate", {}).get("downstream", {}).values()):
        if "root" not in images and _needs_files(images["dataset"]):
            images["root"] = str(_fixture(images["dataset"], options.get(images["dataset"], {}), folder))
    target = folder / "smoke" / f"{file.resolve().parent.name}-{file.name}"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(merged, sort_keys=False), encoding="utf-8")
    return target


def _needs_files(dataset: str) -> bool:
    function = registry.find("dataset", dataset, data.FORMATS, DatasetSpec)
    return bool(registry.spec_of(function, DatasetSpec).needs)


def _fixture(dataset: str, options: dict[str, Any], folder: Path) -> Path:
    """Write the generated data set unless an earlier run left it; it appears whole or not at all."""
    target = (folder / "fixtures" / f"{dataset}-{fingerprint(dataset, options)}").resolve()
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as partial:
            fixtures.write(dataset, Path(partial, dataset), **options)
            Path(partial, dataset).rename(target)
    return target
