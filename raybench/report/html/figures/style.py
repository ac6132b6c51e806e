"""What all figures share: colors, fonts, and the layout of rows and of small panels.

Each color is a name for `svg.py`, which replaces it by a variable of the page's style sheet; that is how one figure
serves a light and a dark page. As a matplotlib figure it has the colors of the light page.
"""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, BAND, PAPER = "#1d2430", "#5b6575", "#dde2ea", "#e9edf3", "#fefefe"
BLUE, ORANGE, GREEN, RED, PURPLE = "#1b66c9", "#c25e00", "#16794d", "#c2273d", "#7a4bc0"
COLORS = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    BAND: "band",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    RED: "red",
    PURPLE: "purple",
}
# color and marker of a verdict: the shape says the same as the color
VERDICTS = {
    "forgotten": (GREEN, "o"),
    "no difference": (BLUE, "s"),
    "remembers": (RED, "^"),
    "withheld": (MUTED, "D"),
}
FORGET, UNSEEN, RETRAINED, ORIGINAL = RED, BLUE, INK, ORANGE

RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the layout is the same everywhere
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "lines.linewidth": 1.5,
    "patch.linewidth": 0,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a method may be named `a$b$`
}
WIDTH, ROW_HEIGHT = 10.4, 0.27  # inches
P = ParamSpec("P")
T = TypeVar("T")


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function under the style of the report, whatever the user's matplotlibrc says."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(RC)
            return function(*args, **kwargs)

    return run


def row_panels(names: Sequence[str], panels: int, *, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels side by side that share one row per name, the first at the top."""
    figure = Figure(figsize=(width, 1.1 + ROW_HEIGHT * max(len(names), 2)), layout="constrained")
    axes = [figure.add_subplot(1, panels, number + 1) for number in range(panels)]
    for number, axis in enumerate(axes):
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_yticks(range(len(names)), [shortened(name) for name in names] if number == 0 else [])
        axis.grid(axis="y", visible=False)
        axis.spines["left"].set_visible(False)
    return figure, axes


def small_panels(
    titles: Sequence[str], *, across: str, up: str = "", height: float = 1.3, columns: int = 4, share_x: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return a figure with one small panel per title, in rows of `columns`; all share their axes.

    `across`, `up`: labels of the axes; without `share_x` each panel has its own horizontal axis. The panels are placed
    by hand: a layout engine takes most of the time of a report with 60 methods.
    """
    columns = min(columns, max(len(titles), 2))
    rows = math.ceil(len(titles) / columns)
    left, right, above, below, apart = 0.62, 0.1, 0.62, 0.5, 0.42 if share_x else 0.6  # inches
    total = rows * height + (rows - 1) * apart + above + below
    width = (WIDTH - left - right - 0.2 * (columns - 1)) / columns
    figure = Figure(figsize=(WIDTH, total))
    axes: list[Axes] = []
    for number, title in enumerate(titles):
        row, column = divmod(number, columns)
        corner = left + column * (width + 0.2), total - above - height - row * (height + apart)
        place = (corner[0] / WIDTH, corner[1] / total, width / WIDTH, height / total)
        shared = axes[0] if axes else None
        axis = figure.add_axes(place, sharex=shared if share_x else None, sharey=shared)
        axis.set_title(shortened(title, 30))
        axis.tick_params(labelleft=column == 0, labelbottom=not share_x or number + columns >= len(titles))
        axes.append(axis)
    figure.text(left / WIDTH, 0.08 / total, across, ha="left", va="bottom")
    middle = (below + (total - above)) / 2 / total
    figure.text(0.05 / WIDTH, middle, up, ha="left", va="center", rotation="vertical")
    return figure, axes


def legend_above(figure: Figure, axis: Axes, *, columns: int = 5) -> None:
    """Put the legend of one panel above the figure."""
    handles, labels = axis.get_legend_handles_labels()
    corner = (0.5 / WIDTH, 1.0)
    figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=corner, ncols=columns, handlelength=1.6, columnspacing=1.6
    )


def shortened(name: str, length: int = 26) -> str:
    """Return a name that fits its place; the page has it in full."""
    return name if len(name) <= length else f"{name[: length - 3]}..."


def method_order(leaderboard: pd.DataFrame, present: pd.Series) -> list[str]:
    """Return the methods in the order of the leaderboard, of those that `present` contains."""
    available = set(present)
    names = leaderboard.loc[leaderboard.kind == "unlearned", "method"]
    return [str(name) for name in names if name in available]
