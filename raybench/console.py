"""The console that a run prints to, for the command line and for Python."""

import sys

from rich.console import Console


def plain_console(*, stderr: bool = False) -> Console:
    """Return the console; outside a terminal it is 150 columns wide, so that the leaderboard fits.

    Nothing in brackets or between colons is markup: names and paths are printed as they are, also in a notebook.
    """
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 150
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False, force_jupyter=False)
