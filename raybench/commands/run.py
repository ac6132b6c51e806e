"""`raybench run`: run an experiment with progress for people or, with --json, for programs."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from raybench import __version__
from raybench.config.reading import load_experiment
from raybench.console import plain_console
from raybench.event_stream import SCHEMA, EventStream
from raybench.pipeline import run as pipeline
from raybench.pipeline.run import Until
from raybench.progress import Reporter
from raybench.report.result import run_result
from raybench.storage.store import Store


def run_experiment(
    file: Path,
    overrides: Sequence[str],
    storage: str,
    reporter: Reporter,
    *,
    address: str | None,
    until: Until,
    retry_failed: bool,
    dashboard: bool,
) -> None:
    """Run the experiment of a file. An event stream gets a first event, and the result or the error as the last one."""

    def start() -> tuple[Store, str]:
        experiment, text = load_experiment(file, overrides)
        store = Store(storage)
        if isinstance(reporter, EventStream):
            names = {"run": experiment.name, "storage": store.shown, "until": until}
            reporter.emit("start", schema=SCHEMA, raybench=__version__, **names)
        run = pipeline.run(
            experiment,
            text,
            store,
            reporter,
            address=address,
            until=until,
            retry_failed=retry_failed,
            dashboard=dashboard,
        )
        return store, run

    if not isinstance(reporter, EventStream):
        start()
        return
    with redirect_stdout(sys.stderr):  # nothing else may come between the events
        try:
            store, run = start()
        except KeyboardInterrupt:
            reporter.emit("error", kind="Interrupted", message="interrupted; finished work is saved")
            raise
        except Exception as error:
            reporter.emit("error", kind=type(error).__name__, message=str(error))
            raise
        reporter.emit("result", **run_result(store, run))


def event_stream(verbosity: int) -> EventStream:
    """Return a reporter that writes events to stdout; tables and messages for people go to stderr."""
    return EventStream(sys.stdout, plain_console(stderr=True), verbosity=verbosity)
