"""Run an experiment from Python, and read the tables of a run as data frames."""

import builtins
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pyarrow as pa
import yaml

from raybench.api.results import Results
from raybench.config.reading import experiment_of, load_experiment
from raybench.console import plain_console
from raybench.errors import UserError, unknown
from raybench.progress import Reporter
from raybench.registry import MODULES
from raybench.report.leaderboard import Leaderboard
from raybench.report.stored import read_run_table
from raybench.storage.read_only import ReadOnlyStore
from raybench.storage.runs import find_run
from raybench.storage.store import Store
from raybench.storage.tables import SCHEMAS

if TYPE_CHECKING:
    from raybench.report.html import RunFrames

TABLES = ("leaderboard", *(name for name in SCHEMAS if name not in ("predictions", "signals")), "reported")
SPLIT_FILE = re.compile(r"(?P<split>.+?)-[0-9a-f]{16}(-.+)?-(?P<piece>\d+)")  # the end of a file's name
Until = Literal["train", "sweep", "evaluate", "report"]


class Run(Results):
    """The results of one run, read from its tables when they are first used and then kept.

    `name` is the run's name and fingerprint, `quickstart/1a2b3c4d`, which `open` takes.

    A run that was stopped early (`until`) has no tables yet; reading one raises UserError.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store

    @property
    def title(self) -> str:
        return f"raybench run {self.name!r} on {self._store.shown}"

    @cached_property
    def board(self) -> Leaderboard:
        return Leaderboard.from_table(self._read("leaderboard"))

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row per model, split, metric and setting: value, interval, gap to the retrained models, reason."""
        return self._frame("metrics")

    @cached_property
    def models(self) -> pd.DataFrame:
        """One row per model: original, retrained or unlearned, with recipe, hyperparameters and cost."""
        return self._frame("models")

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial and epoch; a failed trial is one row with its error."""
        return self._frame("trials")

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per model and sample of forget, test and unseen: loss, margin, attack score, prediction set."""
        return self._frame("samples")

    @cached_property
    def memory(self) -> pd.DataFrame:
        """Residual memory per method, 0 as retrained and 1 as the original, with one-sided 95 % bounds."""
        return self._frame("memory")

    @cached_property
    def exposure(self) -> pd.DataFrame:
        """One row per method and forget sample: the probability that a model was trained on it."""
        return self._frame("exposure")

    @cached_property
    def splits(self) -> pd.DataFrame:
        """One row per sample that has a role: id, role, label, group."""
        return self._frame("splits")

    @cached_property
    def report(self) -> str:
        """The text of `report.md`."""
        key = f"{self.name}/report.md"
        if not self._store.exists(key):
            raise self._missing("report")
        return self._store.read_bytes(key).decode()

    def table(self, name: str) -> pa.Table:
        """Return one table as pyarrow, with its schema and its version in the metadata.

        `name`: "leaderboard", "metrics", "models", "trials", "samples", ... The DataFrames of the same names hold the
        same rows. Raise UserError for an unknown table, and for one that the run does not have.
        """
        if not self._store.exists(f"{self.name}/tables/{name}.parquet") and name not in TABLES:
            raise unknown("table", name, TABLES)
        return self._read(name)

    def predictions(self, model: str, split: str | None = None) -> pa.Table:
        """Return ids, labels, logits and features of one model, one row per sample, as pyarrow.

        `model`: a `name` or `model` of the table `models`, for example "original" or "finetune-3". `split`: a role
        such as "forget", or a downstream set; by default all of them, which the column `split` tells apart. A split
        above `evaluate.stream_above` has `signals` instead. Raise UserError for an unknown model or split.
        """
        return self._stored("predictions", model, split)

    def signals(self, model: str, split: str | None = None) -> pa.Table:
        """Return loss, confidence, margin, rank ... of one model on the splits above `evaluate.stream_above`.

        One row per sample, as pyarrow; arguments as in `predictions`.
        """
        return self._stored("signals", model, split)

    def _stored(self, kind: str, model: str, split: str | None) -> pa.Table:
        names = dict(zip(self.models["name"], self.models["model"]))
        key = names.get(model, model)
        if key not in set(names.values()):
            raise unknown(f"model of run {self.name!r}:", model, names)
        pieces: dict[str, list[tuple[int, str]]] = {}
        for file in self._store.keys(f"{self.name}/tables/{kind}", suffix=".parquet"):
            owner, _, rest = file.rsplit("/", 1)[-1].removesuffix(".parquet").partition("-")
            if owner == key:
                part = SPLIT_FILE.fullmatch(rest)
                assert part is not None
                pieces.setdefault(part["split"], []).append((int(part["piece"]), file))
        if not pieces:
            reason = "it failed, or was not evaluated"
            if kind == "signals":
                reason = "it has predictions, or was not evaluated"
            raise UserError(f"run {self.name!r} has no {kind} of {model!r}: {reason}")
        if split is not None and split not in pieces:
            raise unknown(f"split of run {self.name!r} with {kind}:", split, pieces)
        chosen = pieces.values() if split is None else [pieces[split]]
        return pa.concat_tables(self._store.read_table(file) for files in chosen for _, file in sorted(files))

    def _frames(self) -> "RunFrames":
        from raybench.report.html import read_frames

        manifest = self._store.read_json(f"{self.name}/manifest.json")
        return read_frames(self._store, self.name, self.board, manifest, self.metrics, self.models, self.trials)

    def certify(
        self, method: str, folder: str | Path, *, request_id: str = "", operator: str = "", date: str | None = None
    ) -> dict[str, Any]:
        """Write evidence on a method to a new folder, as `raybench certify` does; return what `evidence.json` says.

        `date`: as 2026-01-31, today by default. Raise UserError for a method without a verdict.
        """
        from raybench.evidence import Request, certify

        request = Request(request_id, operator, *([date] if date is not None else []))
        return certify(self._store, self.name, method, Path(folder), request)

    def _frame(self, table: str) -> pd.DataFrame:
        return self._read(table).to_pandas()

    def _read(self, table: str) -> pa.Table:
        key = f"{self.name}/tables/{table}.parquet"
        if not self._store.exists(key):
            raise self._missing(f"table {table!r}")
        return read_run_table(self._store, self.name, table)

    def _missing(self, what: str) -> UserError:
        return UserError(f"run {self.name!r} on {self._store.shown} has no {what} yet: run it with until='report'")


def run(
    experiment: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    storage: str | Path = "runs",
    until: Until = "report",
    quiet: bool = False,
    address: str | None = None,
    retry_failed: bool = False,
) -> Run:
    """Run an experiment, as `raybench run` does, and return its results.

    Only work that is missing from the storage runs, so the same call resumes an interrupted run.

    Args:
        experiment: path of an experiment file, or its content as a dictionary. Relative paths in a dictionary, and its
            `extends`, are looked up in the current folder.
        overrides: values to change, as {"train.epochs": 5} or ["train.epochs=5"].
        storage: folder, or URI such as s3://bucket/raybench.
        until: the last stage to run: `train`, `sweep`, `evaluate` or `report`.
        quiet: print nothing.
        address: Ray cluster to use: host:6379 or auto. If Ray is connected (`ray.init`), that connection is used
            and stays open. Otherwise, without an address, a local Ray starts when there is work to do, and is shut down
            at the end.
        retry_failed: rerun failed trials, whose errors are otherwise kept.

    Raise UserError for an invalid experiment, and for what the user can fix.
    """
    from raybench.pipeline import run as pipeline

    changes = _as_texts(overrides)
    if isinstance(experiment, Mapping):
        parsed, text = experiment_of(_plain(experiment, "experiment"), changes)
    else:
        parsed, text = load_experiment(experiment, changes)
    if until not in ("train", "sweep", "evaluate", "report"):
        raise unknown("until", until, ("train", "sweep", "evaluate", "report"))
    os.environ.setdefault(MODULES, os.getcwd())  # where user-defined functions are imported from, after all else
    folder = pipeline.run(
        parsed,
        text,
        Store(str(storage)),
        Reporter(plain_console(), verbosity=-1 if quiet else 0),
        address=address,
        until=until,
        retry_failed=retry_failed,
    )
    return Run(ReadOnlyStore(str(storage)), folder)


def open(run: str | Path, *, storage: str | Path = "runs") -> Run:
    """Open the results of a finished run; nothing is written and Ray is not started.

    Args:
        run: name of the run, for the newest of this name; name/fingerprint, of which the first digits are enough; the
            folder of a run, or of all runs of a name; or the experiment file, for its name.
        storage: folder or URI where the run is stored; ignored if `run` is a folder.

    Raise UserError for a run that does not exist; the message names the nearest one.
    """
    return Run(*locate(run, storage))


def locate(run: str | Path, storage: str | Path) -> tuple[ReadOnlyStore, str]:
    """Return the store and the folder of a run, named as in `open`."""
    request = str(run)
    if request.endswith((".yaml", ".yml")):
        request = load_experiment(run)[0].name
    elif "://" in request:
        raise UserError(f"run {request!r} is a URI: open the run by its name, with storage= the URI of the storage")
    elif (folder := Path(request).expanduser().resolve()).is_dir():
        if (folder / "tables").is_dir():
            request, storage = f"{folder.parent.name}/{folder.name}", folder.parent.parent
        elif any((path / "tables").is_dir() for path in folder.iterdir()):
            request, storage = folder.name, folder.parent
    store = ReadOnlyStore(str(storage))
    return store, find_run(store, request)


def _as_texts(overrides: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return overrides in the form of the command line, `train.epochs=5`."""
    if isinstance(overrides, str):
        raise UserError(f"overrides = {overrides!r}: must be a list of 'key=value', or a mapping of keys to values")
    if not isinstance(overrides, Mapping):
        return [str(override) for override in overrides]
    return [f"{key}={_inline(_plain(value, str(key)))}" for key, value in overrides.items()]


def _inline(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize)
    return text.removesuffix("...\n").strip()


def _plain(value: Any, place: str) -> Any:
    """Return a copy in the types of YAML: tuples become lists, paths texts, numbers of numpy those of Python."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, place) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = builtins.type(value).__name__
    raise UserError(
        f"{place} is a {kind}, which an experiment file cannot hold (allowed: mappings, lists, texts, numbers, true, "
        "false, null; name your own functions as package.module.function)"
    )
