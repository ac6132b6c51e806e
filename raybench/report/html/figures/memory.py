"""Residual memory of each method, with its bounds and the margin."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raybench.report.html.figures.style import BAND, INK, MUTED, VERDICTS, row_panels, styled


@styled
def memory(leaderboard: pd.DataFrame, margin: float) -> Figure | None:
    """Plot the residual memory in percent with its two one-sided 95 % bounds; None if no row has one.

    `leaderboard`: `leaderboard.parquet`. The shaded band ends at `margin`, below which a method counts as having
    forgotten.
    """
    rows = leaderboard[leaderboard.memory_value.notna()]
    if not (rows.kind == "unlearned").any():
        return None
    figure, (axis,) = row_panels(list(rows.method), 1)
    axis.axvspan(-100, 100 * margin, color=BAND, zorder=0)
    axis.axvline(100 * margin, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    for end in (0, 100):
        axis.axvline(end, color=MUTED, linewidth=0.8)
    shown: dict[str, Line2D] = {}
    for place, row in enumerate(rows.itertuples()):
        word = row.conclusion if isinstance(row.conclusion, str) else "reference"
        color, marker = VERDICTS.get(word, (INK, "d"))
        axis.plot([100 * row.memory_low, 100 * row.memory_high], [place, place], color=color, linewidth=2)
        (shown[word],) = axis.plot(100 * row.memory_value, place, marker, color=color, markersize=6.5, linestyle="")
    low, high = 100 * rows.memory_low.min(), 100 * rows.memory_high.max()
    axis.set_xlim(max(min(low, 0) - 5, -100), max(min(high, 200), 100) + 5)
    axis.set_xlabel("memory left, % (0: as retrained, 100: as the original)")
    words = [word for word in (*VERDICTS, "reference") if word in shown]
    handles = [*(shown[word] for word in words), Line2D([], [], color=INK, linewidth=1, linestyle=(0, (4, 3)))]
    figure.legend(handles, [*words, f"margin, {100 * margin:g} %"], loc="outside upper left", ncols=6)
    return figure
