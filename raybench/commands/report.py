"""`raybench report`: print the leaderboard of a finished run, and rewrite its report."""

from rich.console import Console

from raybench.pipeline.run import require_tables
from raybench.progress import Reporter
from raybench.report import write_report
from raybench.storage.read_only import ReadOnlyStore, open_for_report
from raybench.storage.store import Store


def rewrite_report(storage: str, name: str, console: Console) -> None:
    """Print the leaderboard of run `name` from its tables; rewrite its report where the storage can be written."""
    reporter = Reporter(console)
    require_tables(Store(storage), name)
    store = open_for_report(storage)
    write_report(store, name, reporter)
    if isinstance(store, ReadOnlyStore):
        reporter.print(f"storage {store.shown!r} cannot be written: the files of the report are left as they are")
