"""Hyperparameter search: the objective of each trial, and the best of so many trials."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from raybench.report.html.figures.style import BLUE, INK, MUTED, RED, legend_above, method_order, small_panels, styled


@styled
def search(leaderboard: pd.DataFrame, trials: pd.DataFrame, table: pd.DataFrame | None) -> Figure | None:
    """Plot the objective of each search trial in order, one panel per method; None if nothing was searched.

    `table`: `search.parquet`, None for a run without: the expected best objective of so many trials, and the mean
    objective of the chosen setting when it ran again. Objectives far from all others are drawn at the edge.
    """
    last = trials[(trials.phase == "search") & trials["last"].astype(bool) & trials.objective.notna()]
    counts = last.groupby("method").size()
    methods = method_order(leaderboard, pd.Series(counts[counts > 1].index))
    if not methods:
        return None
    figure, axes = small_panels(methods, across="trials", up="objective")
    shown = last[last.method.isin(methods)].objective.to_numpy(dtype=float)
    top = float(np.percentile(shown, 90) * 1.1) if (shown > 0).all() else float(shown.max())
    for axis, method in zip(axes, methods):
        rows = last[last.method == method]
        order, values = np.arange(1, len(rows) + 1), np.minimum(rows.objective.to_numpy(dtype=float), top)
        axis.plot(order, values, "o", color=MUTED, markersize=3.5, linestyle="", label="trial")
        chosen = rows.chosen.to_numpy(dtype=bool)
        axis.plot(order[chosen], values[chosen], "o", color=RED, markersize=6, linestyle="", label="chosen")
        curve = table[table.method == method] if table is not None else None
        if curve is not None and len(curve):
            axis.plot(curve.trials, np.minimum(curve.expected_best, top), color=BLUE, label="expected best of so many")
            if curve.runs_again.iloc[-1]:
                again = min(float(curve.chosen_again.iloc[-1]), top)
                axis.axhline(again, color=INK, linestyle="--", linewidth=1, label="chosen, run again")
        axis.locator_params(axis="x", nbins=5, integer=True)
    legend_above(figure, axes[0])
    return figure
