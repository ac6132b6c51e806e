"""The console of the command line."""

import sys

from rich.console import Console


def console() -> Console:
    """Return the console; outside a terminal it is 150 columns wide, so that the leaderboard fits.

    Nothing in brackets or between colons is markup: names and paths are printed as they are.
    """
    width = None if sys.stdout.isatty() else 150
    return Console(width=width, markup=False, emoji=False, highlight=False)
