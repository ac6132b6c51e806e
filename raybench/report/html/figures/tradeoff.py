"""Forgetting against utility and against cost, with the Pareto front."""

import math
from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raybench.report.html.figures.style import INK, MUTED, VERDICTS, WIDTH, shortened, styled

ROOM = 1.5  # of the largest value: what an axis shows of the intervals, which are very wide with two runs
CROWDED = 14  # with more methods only those on the Pareto front are named


@styled
def tradeoff(leaderboard: pd.DataFrame, errors: pd.DataFrame) -> Figure | None:
    """Plot the mean forget gap against the mean utility gap and against cost; None if fewer than two methods have them.

    `errors`: half-widths of the 95 % intervals over runs, in points: columns `forget` and `utility`, index the method;
    NaN where there is none. Methods on the Pareto front have a ring. Without any cost, the right panel is left out.
    """
    rows = leaderboard[leaderboard.forget_gap.notna() & leaderboard.utility_gap.notna()]
    if len(rows) < 2:
        return None
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    costs = 100 * rows.relative_cost.astype(float)
    panels = 2 if costs.notna().any() else 1
    left = figure.add_subplot(1, panels, 1)
    bars = errors.reindex(rows.method)
    _panel(left, rows, rows.utility_gap, bars.utility.tolist(), bars.forget.tolist())
    left.set_xlabel("mean utility gap, points (0: as retrained)")
    left.set_ylabel("mean forget gap, points (0: as retrained)")
    left.set_title("forgetting and utility")
    named = [(left, rows.utility_gap)]
    if panels == 2:
        right = figure.add_subplot(1, 2, 2)
        _panel(right, rows, costs, [math.nan] * len(rows), bars.forget.tolist())
        right.set_xlabel("cost, % of one retraining")
        if (costs > 0).any() and costs[costs > 0].min() * 20 < costs.max():
            right.set_xscale("log")
            right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        right.set_title("forgetting and cost")
        named.append((right, costs))
    for axis, _ in named:
        _limit(axis.set_ylim, axis.get_ylim()[1], rows.forget_gap)
    _limit(left.set_xlim, left.get_xlim()[1], rows.utility_gap)
    figure.draw_without_rendering()  # fixes the scales, which the labels need
    for axis, values in named:
        _name_points(axis, rows, values)
    words = [word for word in VERDICTS if word in set(rows.conclusion)]
    handles = [
        axis_handle
        for word in words
        for axis_handle in left.plot([], [], VERDICTS[word][1], color=VERDICTS[word][0], label=word)
    ]
    if (rows.pareto == 1).any():
        handles += left.plot([], [], "o", color=INK, markerfacecolor="none", markersize=11, label="Pareto front")
    figure.legend(handles=handles, loc="outside upper left", ncols=6)
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, across: pd.Series, wide: list[float], high: list[float]) -> None:
    for row, x, dx, dy in zip(rows.itertuples(), across, wide, high):
        color, marker = VERDICTS.get(row.conclusion, (MUTED, "D"))
        if not math.isnan(dx):
            axis.plot([max(x - dx, 0), x + dx], [row.forget_gap] * 2, color=color, linewidth=1, alpha=0.6)
        if not math.isnan(dy):
            axis.plot([x, x], [max(row.forget_gap - dy, 0), row.forget_gap + dy], color=color, linewidth=1, alpha=0.6)
        axis.plot(x, row.forget_gap, marker, color=color, markersize=7)
        if row.pareto == 1:
            axis.plot(x, row.forget_gap, "o", color=INK, markerfacecolor="none", markersize=12, markeredgewidth=1.1)
    axis.margins(0.08)


def _limit(set_limits: Callable[..., object], shown: float, values: pd.Series) -> None:
    """Cut an axis after `ROOM` times the largest value if its intervals reach further, so that points stay apart."""
    largest = ROOM * float(values.max())
    if 0 < largest < shown:
        set_limits(-0.08 * largest, largest)


def _name_points(axis: Axes, rows: pd.DataFrame, across: pd.Series) -> None:
    """Write the names beside the points, each at the first place that no other name or point takes."""
    named = rows if len(rows) <= CROWDED else rows[rows.pareto == 1]
    points = [tuple(axis.transData.transform(point)) for point in zip(across, rows.forget_gap)]
    frame = axis.get_window_extent()
    taken = [(x - 9, y - 9, x + 9, y + 9) for x, y in points if math.isfinite(x)]
    for row, x_value in zip(named.itertuples(), across.loc[named.index]):
        text = shortened(row.method, 22)
        x, y = axis.transData.transform((x_value, row.forget_gap))
        if not math.isfinite(x):
            continue
        wide, tall = 8.2 * len(text), 13.0  # pixels at 100 dpi
        places = [(x + right, y + up) for up in (0, 16, -16, 30, -30, 44, -44) for right in (12, -12 - wide, -wide / 2)]
        for px, py in places:
            box = (px, py - tall / 2, px + wide, py + tall / 2)
            inside = frame.x0 <= box[0] and box[2] <= frame.x1 + 8 and frame.y0 <= box[1] and box[3] <= frame.y1
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                px, py = axis.transData.inverted().transform((px, py))
                axis.text(px, py, text, fontsize=8, va="center")
                break


def _overlap(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
