"""The numbers of the leaderboard as text, the same in the terminal, in Markdown and in HTML."""

import math

from raybench.report.comparison import Column
from raybench.report.leaderboard import Cell, Row

NOTHING = "-"
POINTS = 100.0  # no mean absolute gap is larger


def value_text(cell: Cell, column: Column, *, interval: bool = True) -> str:
    """Return a mean with its interval, `84.0 ±0.6`; `90.9 [71.3, 100.0]` where the interval reaches a bound."""
    if math.isnan(cell.value):
        return NOTHING
    scale, digits = column.scale
    shown = f"{scale * cell.value:.{digits}f}"
    if interval:
        shown += interval_text(
            scale * cell.value, scale * cell.half_width, scale * column.low, scale * column.high, digits
        )
    return shown + ("*" if cell.distinguishable else "")


def mean_gap_text(row: Row, *, interval: bool = True) -> str:
    """Return the gap that ranks, in points, with its interval."""
    if math.isnan(row.gap.value):
        return NOTHING
    ends = interval_text(row.gap.value, row.gap.half_width, 0.0, POINTS, 1) if interval else ""
    return f"{row.gap.value:.1f}{ends}"


def signed_gap_text(cell: Cell, column: Column) -> str:
    """Return the signed gap of a cell with the interval that decides whether it is distinguishable."""
    if math.isnan(cell.gap):
        return NOTHING
    scale, digits = column.scale
    gap, low, high = (_signed(scale * value, digits) for value in (cell.gap, cell.gap_low, cell.gap_high))
    return gap if math.isnan(cell.gap_low) else f"{gap} [{low}, {high}]"


def cost_text(cost: float | None) -> str:
    """Return the cost in percent of one retraining."""
    return NOTHING if cost is None else f"{100 * cost:.{0 if cost >= 0.095 else 1}f} %"


def interval_text(value: float, half_width: float, low: float, high: float, digits: int) -> str:
    """Return the interval as it follows a value, empty for NaN; `low` and `high` bound the quantity."""
    if math.isnan(half_width):
        return ""
    below, above = value - half_width, value + half_width
    tolerance = 0.5 * 10.0**-digits  # of what is shown
    if below >= low - tolerance and above <= high + tolerance:
        shown = f"{half_width:.{digits}f}"
        return f" ±{shown}" if float(shown) else f" ±<{10.0**-digits:.{digits}f}"
    start, end = (f"{value:.{digits}f}" for value in (below, above))
    return f" [{f'{low:g}' if below <= low else start}, {f'{high:g}' if above >= high else end}]"


def _signed(value: float, digits: int) -> str:
    """Return a number with its sign; -0.04 is +0.0 with one digit."""
    rounded = round(value, digits)
    return f"{rounded if rounded else 0.0:+.{digits}f}"
