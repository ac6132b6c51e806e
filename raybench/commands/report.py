"""`raybench report`: print the leaderboard of a finished run, and rewrite its report."""

from rich.console import Console

from raybench.pipeline.run import report
from raybench.progress import Reporter
from raybench.storage.read_only import ReadOnlyStore, open_for_report
from raybench.storage.runs import find_run


def rewrite_report(storage: str, request: str, console: Console, *, thumbnails: bool | None = None) -> None:
    """Print the leaderboard of a run from its tables; rewrite its report where the storage can be written.

    `request`: `NAME` for the newest run of this name, or `NAME/FINGERPRINT`. `thumbnails`: whether `report.html` shows
    pictures of forget samples; by default only those of public data sets without faces.
    """
    reporter, store = Reporter(console), open_for_report(storage)
    report(store, find_run(store, request), reporter, thumbnails=thumbnails)
    if isinstance(store, ReadOnlyStore):
        reporter.print(f"storage {store.shown!r} cannot be written: the files of the report are left as they are")
