"""The commands that read several runs: `compare`, `leaderboard`, `runs`. What they do is in `compare.py`."""

from typing import Annotated

import typer

from raybench.commands.options import RUNS, Out, Storage
from raybench.console import plain_console


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Runs: NAME, NAME/FINGERPRINT, or folders.")],
    storage: Storage = RUNS,
    out: Out = "comparison.html",
) -> None:
    """Compare runs: those of one scenario in one table, others apart with the reason."""
    from raybench.commands.compare import compare as compare_runs

    compare_runs(runs, storage, out, plain_console())


def leaderboard(storage: Storage = RUNS, out: Out = "leaderboard.html") -> None:
    """Show the verdicts of all finished runs of a storage, by scenario and method."""
    from raybench.commands.compare import leaderboard as show_leaderboard

    show_leaderboard(storage, out, plain_console())


def runs(storage: Storage = RUNS) -> None:
    """List the runs of a storage with date, state, data and number of methods, newest first."""
    from raybench.commands.compare import list_runs

    plain_console().print(list_runs(storage))
