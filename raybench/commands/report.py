"""`raybench report`: print the leaderboard of a finished run, and rewrite its report."""

import sys
from contextlib import redirect_stdout

from rich.console import Console

from raybench.commands.run import event_stream
from raybench.pipeline.run import report
from raybench.progress import Reporter
from raybench.report.result import run_result
from raybench.storage.read_only import ReadOnlyStore, open_for_report
from raybench.storage.runs import find_run
from raybench.storage.store import Store


def rewrite_report(
    storage: str, request: str, console: Console, *, thumbnails: bool | None = None, as_events: bool = False
) -> None:
    """Print the leaderboard of a run from its tables; rewrite its report where the storage can be written.

    `request`: `NAME` for the newest run of this name, or `NAME/FINGERPRINT`. `thumbnails`: whether `report.html` shows
    pictures of forget samples; by default only those of public data sets without faces. `as_events`: write the result
    as an event (docs/events.md) to stdout, and the leaderboard to stderr.
    """
    store = open_for_report(storage)
    run = find_run(store, request)
    if not as_events:
        _rewrite(store, run, Reporter(console), thumbnails)
        return
    stream = event_stream(0)
    with redirect_stdout(sys.stderr):
        _rewrite(store, run, stream, thumbnails)
        stream.emit("result", **run_result(store, run))


def _rewrite(store: Store, run: str, reporter: Reporter, thumbnails: bool | None) -> None:
    report(store, run, reporter, thumbnails=thumbnails)
    if isinstance(store, ReadOnlyStore):
        reporter.print(f"storage {store.shown!r} cannot be written: the files of the report are left as they are")
