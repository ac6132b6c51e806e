"""`raybench smoke`: run experiments in a small variant on generated data, from images to report, in about a minute.

    smoke:
      fixture: {imagenet: {num_classes: 6}}  # options of the generated data set, used if `smoke` gives no root
      train: {epochs: 1}                     # any other keys that make the experiment small

The generated data have the file layout of the real data set, so a smoke run exercises the same code as a full run.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raybench import data, registry
from raybench.activity import clock
from raybench.config.reading import load_experiment, merge, read, read_yaml
from raybench.data import fixtures
from raybench.data.images import DatasetSpec
from raybench.distributed.cluster import Cluster
from raybench.errors import UserError, printable
from raybench.pipeline.run import run
from raybench.progress import Reporter
from raybench.storage.store import Store, fingerprint


@dataclass(frozen=True)
class SmokeResult:
    """The outcome of one experiment: `error` is None if it ran to the end."""

    file: Path
    seconds: float
    error: str | None


def run_all(paths: Sequence[Path], folder: Path, reporter: Reporter, *, address: str | None = None) -> int:
    """Run the smoke variants of all experiments, print what failed, and return how many did."""
    results = list(smoke(paths, folder, reporter, address=address))
    failed = [result for result in results if result.error is not None]
    reporter.print(f"\n{len(results) - len(failed)} of {len(results)} experiments passed")
    for result in failed:
        sys.stderr.write(printable(f"raybench: {result.file}: {result.error}\n"))
    return len(failed)


def experiments(paths: Sequence[Path]) -> list[Path]:
    """Return the given files, and every experiment with a `smoke` section in the given folders."""
    experiment_files: list[Path] = []
    for path in paths:
        files = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
        experiment_files += [file for file in files if not path.is_dir() or "smoke" in _content(file)]
    if not experiment_files:
        raise UserError(f"{', '.join(map(str, paths))}: no experiment with a `smoke:` section")
    return experiment_files


def _content(file: Path) -> dict[str, Any]:
    """Return the file's content with its bases merged in; empty for a base file, which has no name."""
    content = read_yaml(file)[0]
    is_experiment = isinstance(content, dict) and "name" in content
    return read(file).content if is_experiment else {}


def smoke(
    paths: Sequence[Path], folder: Path, reporter: Reporter, *, address: str | None = None
) -> Iterator[SmokeResult]:
    """Run the smoke variant of every experiment on one Ray cluster; data, runs and tables go under `folder`."""
    files = experiments(paths)
    with Cluster(address, quiet=reporter.verbosity < 1) as cluster:
        cluster.start()  # all runs share it, so that worker processes are reused
        for file in files:
            reporter.print(f"\n== {file}")
            started = time.monotonic()
            error = _run(file, folder, reporter)
            result = SmokeResult(file, time.monotonic() - started, error)
            reporter.print(f"{file}: {error or 'passed'} in {clock(result.seconds)}")
            yield result


def _run(file: Path, folder: Path, reporter: Reporter) -> str | None:
    """Run one experiment and return its error message, if any, so that one failure does not end the others."""
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
    """Write the smoke variant of `file` and the data sets it needs; return the path of the variant."""
    content = read(file).content
    section = content.pop("smoke", None)
    if not isinstance(section, dict):
        raise UserError(f"{file}: no `smoke:` section; add one with the keys to change for a one-minute run")
    content.pop("extends", None)
    changes = dict(section)
    options = changes.pop("fixture", {})
    for images in (content["data"], *content.get("evaluate", {}).get("downstream", {}).values()):
        images.pop("root", None)  # of the real data; a root in the smoke section is kept
    merged = merge(content, changes)
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
    """Return the folder of the generated data set; write it, atomically, if it does not exist."""
    target = (folder / "fixtures" / f"{dataset}-{fingerprint(dataset, options)}").resolve()
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as partial:
            fixtures.write(dataset, Path(partial, dataset), **options)
            Path(partial, dataset).rename(target)
    return target
