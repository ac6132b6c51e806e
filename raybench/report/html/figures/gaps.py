"""Gaps of each method in each metric, with intervals and the noise floor."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from raybench.report.comparison import Column
from raybench.report.html.figures.style import BAND, BLUE, MUTED, RED, row_panels, styled


def in_report_unit(column: Column, leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return `gap`, `low` and `high` of one column in the unit of the report, points or that of the metric."""
    names = {f"{column.name}_gap": "gap", f"{column.name}_gap_low": "low", f"{column.name}_gap_high": "high"}
    return leaderboard[list(names)].astype(float).rename(columns=names) * column.scale[0]


def noise_floor(column: Column, metrics: pd.DataFrame, setting: str) -> tuple[float, float] | None:
    """Return the range of the gaps of retrained models, each to the others; None with fewer than two."""
    split = metrics.split.isna() if column.split is None else metrics.split == column.split
    rows = metrics[(metrics.kind == "retrained") & (metrics.metric == column.metric) & split]
    if column.metric in ("cr", "memory_gap") and setting:
        rows = rows[rows.setting == setting]
    gaps = rows.gap.dropna() * (-1 if column.complement else 1) * column.scale[0]
    return (float(gaps.min()), float(gaps.max())) if len(gaps) > 1 else None


@styled
def gaps(
    leaderboard: pd.DataFrame,
    metrics: pd.DataFrame,
    columns: Sequence[Column],
    *,
    setting: str = "",
) -> Figure | None:
    """Plot the signed gap of each method to the retrained models (or the ideal), one panel per column.

    None if no method has a gap in one of the `columns`. A filled marker is distinguishable from the reference. The
    gray band is the noise floor: the range of the retrained models, each against the others.
    """
    rows = leaderboard[(leaderboard.kind != "retrained") & ~leaderboard.failed.astype(bool)]
    columns = [column for column in columns if rows[f"{column.name}_gap"].notna().any()]
    if not columns or rows.empty:
        return None
    figure, axes = row_panels(list(rows.method), len(columns))
    for axis, column in zip(axes, columns):
        band = noise_floor(column, metrics, setting)
        if band is not None:
            axis.axvspan(*band, color=BAND, zorder=0)
        axis.axvline(0, color=MUTED, linewidth=0.8)
        values = in_report_unit(column, rows)
        for place, (value, flag) in enumerate(zip(values.itertuples(), rows[f"{column.name}_distinguishable"])):
            color = RED if flag is True else BLUE
            if not np.isnan(value.low):
                axis.plot([value.low, value.high], [place, place], color=color, linewidth=1.6)
            if not np.isnan(value.gap):
                face = color if flag is True else "none"
                axis.plot(value.gap, place, "o", color=color, markerfacecolor=face, markersize=5)
        axis.set_title(column.title)
        axis.set_xlabel("points" if column.percent else "difference")
        axis.locator_params(axis="x", nbins=4)
    return figure
