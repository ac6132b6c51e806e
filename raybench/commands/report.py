"""`raybench report`: print the leaderboard of a finished run, and rewrite its report."""

from rich.console import Console

from raybench.progress import Reporter
from raybench.report import write_report
from raybench.storage.read_only import ReadOnlyStore, open_for_report
from raybench.storage.runs import find_run


def rewrite_report(storage: str, request: str, console: Console) -> None:
    """Print the leaderboard of a run from its tables; rewrite its report where the storage can be written.

    `request`: `NAME` for the newest run of this name, or `NAME/FINGERPRINT`.
    """
    reporter, store = Reporter(console), open_for_report(storage)
    write_report(store, find_run(store, request), reporter)
    if isinstance(store, ReadOnlyStore):
        reporter.print(f"storage {store.shown!r} cannot be written: the files of the report are left as they are")
