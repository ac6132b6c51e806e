"""`raybench compare`, `raybench leaderboard` and `raybench runs`: several runs of one storage or of several."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pyarrow import fs
from rich.console import Console
from rich.table import Table

from raybench import __version__
from raybench.api.run import locate
from raybench.config.reading import experiment_of
from raybench.errors import UserError, mask_password, printable
from raybench.report.comparing.page import as_html
from raybench.report.comparing.run_summary import RunSummary, read_summary
from raybench.report.comparing.scenarios import group
from raybench.report.comparing.table import to_table
from raybench.report.comparing.terminal import renderables, text_table
from raybench.scenario.run_folder import settings_by_content
from raybench.storage.errors import DamagedError
from raybench.storage.read_only import ReadOnlyStore
from raybench.storage.runs import TABLES, evaluated_runs, started_runs
from raybench.storage.store import Store

Located = tuple[Store, str]


def compare(runs: Sequence[str], storage: str, out: str, console: Console) -> None:
    """Compare runs: print them, and write the page `out` and a Parquet table of the same name.

    Raises UserError for fewer than two runs, for an unknown one, and if no run can be shown.
    """
    located = {(store.uri, run): (store, run) for store, run in (locate(run, storage) for run in runs)}
    if len(located) < 2:
        raise UserError(f"compare: {len(located)} run (needed: 2 or more); `raybench runs` lists those of a storage")
    _show("Comparison", list(located.values()), out, console)


def leaderboard(storage: str, out: str, console: Console) -> None:
    """Show all finished runs of a storage; write the page `out` and a Parquet table of the same name.

    Raises UserError if the storage has no finished run.
    """
    store = ReadOnlyStore(storage)
    found = [(store, run) for run in evaluated_runs(store)]
    if not found:
        raise UserError(f"storage {store.shown} has no finished run")
    _show(f"Leaderboard of {mask_password(storage)}", found, out, console)


def list_runs(storage: str) -> Table:
    """Return the table of all runs of a storage, newest first; raise UserError if there is none."""
    store = ReadOnlyStore(storage)
    lines = [_line(store, run) for run in started_runs(store)]
    if not lines:
        raise UserError(f"storage {store.shown} has no run")
    lines.sort(key=lambda line: line[1], reverse=True)
    return text_table(["run", "started", "state", "data and forget set", "methods"], lines, right=("methods",))


def _show(title: str, located: Iterable[Located], out: str, console: Console) -> None:
    if not out.endswith(".html"):
        raise UserError(f"--out {out!r}: must end in .html; the Parquet table is written beside it")
    summaries, skipped = _read(located)
    if not summaries:
        raise UserError("no run can be shown: " + "; ".join(f"{run}: {reason}" for run, reason in skipped.items()))
    scenarios = group(summaries)
    for item in renderables(scenarios, skipped, width=console.width):
        console.print(item)
    _write(out, as_html(title, scenarios, skipped, f"raybench {__version__}").encode(), to_table(scenarios))
    console.print(printable(f"page    {out}\ntable   {out.removesuffix('.html')}.parquet"), soft_wrap=True)


def _write(out: str, page: bytes, table: pa.Table) -> None:
    """Write the page and, beside it, the table; raise UserError if they cannot be written."""
    try:
        remote = "://" in out
        filesystem, path = fs.FileSystem.from_uri(out) if remote else (fs.LocalFileSystem(), os.path.abspath(out))
        filesystem.create_dir(os.path.dirname(path), recursive=True)
        with filesystem.open_output_stream(path) as stream:
            stream.write(page)
        pq.write_table(table, f"{path.removesuffix('.html')}.parquet", filesystem=filesystem)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"--out {out!r} cannot be written: {error}") from error


def _read(located: Iterable[Located]) -> tuple[list[RunSummary], dict[str, str]]:
    """Return the runs that can be shown, and the reasons of the others."""
    summaries, skipped = [], {}
    for store, run in located:
        try:
            summaries.append(read_summary(store, run, _resolve))
        except UserError as error:
            skipped[run] = str(error)
    return summaries, skipped


def _resolve(text: str) -> Mapping[str, Any]:
    return settings_by_content(experiment_of(yaml.safe_load(text))[0])


def _line(store: Store, run: str) -> list[str]:
    try:
        manifest = store.read_json(f"{run}/manifest.json") if store.exists(f"{run}/manifest.json") else {}
    except DamagedError:
        return [run, "", "damaged manifest", "", ""]
    settings = yaml.safe_load(manifest.get("experiment", "")) or {}
    data, forget = settings.get("data") or {}, settings.get("forget") or {}
    options = " ".join(str(value) for key, value in forget.items() if key != "seed")
    if store.exists(f"{run}/tables/leaderboard.parquet"):
        state = "finished"
    elif store.exists(f"{run}/{TABLES}"):
        state = "evaluated"
    else:
        state = "unfinished"
    methods = list(settings.get("methods") or {})
    started = str(manifest.get("started", ""))[:16].replace("T", " ")
    return [run, started, state, f"{data.get('dataset')}, {options}", f"{len(methods)}"]
