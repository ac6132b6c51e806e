"""`raybench report`: print the leaderboard of a finished run, and rewrite its report."""

import sys
from contextlib import redirect_stdout

from rich.console import Console

from raybench.commands.run import event_stream
from raybench.pipeline.run import require_tables
from raybench.progress import Reporter
from raybench.report import write_report
from raybench.report.result import run_result
from raybench.storage.read_only import ReadOnlyStore, open_for_report
from raybench.storage.store import Store


def rewrite_report(storage: str, name: str, console: Console, *, as_events: bool = False) -> None:
    """Print the leaderboard of run `name` from its tables; rewrite its report where the storage can be written.

    `as_events`: write the result as an event (docs/events.md) to stdout, and the leaderboard to stderr.
    """
    require_tables(Store(storage), name)
    store = open_for_report(storage)
    if not as_events:
        _rewrite(store, name, Reporter(console))
        return
    stream = event_stream(0)
    with redirect_stdout(sys.stderr):
        _rewrite(store, name, stream)
        stream.emit("result", **run_result(store, name))


def _rewrite(store: Store, name: str, reporter: Reporter) -> None:
    write_report(store, name, reporter)
    if isinstance(store, ReadOnlyStore):
        reporter.print(f"storage {store.shown!r} cannot be written: the files of the report are left as they are")
