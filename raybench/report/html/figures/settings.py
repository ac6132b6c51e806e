"""Hyperparameter search: the objective against each hyperparameter that was searched."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from raybench.report.html.figures.style import BLUE, RED, method_order, small_panels, styled

WIDE = 20  # a ratio of largest to smallest value from which the axis is logarithmic


@styled
def settings(leaderboard: pd.DataFrame, trials: pd.DataFrame, searched: Mapping[str, Sequence[str]]) -> Figure | None:
    """Plot the objective of the search trials against each searched hyperparameter; None if nothing was searched.

    `searched`: names of the searched hyperparameters by method; one panel for each. The chosen trial is red.
    """
    last = trials[(trials.phase == "search") & trials["last"].astype(bool) & trials.objective.notna()]
    panels = [(method, name) for method in method_order(leaderboard, last.method) for name in searched.get(method, ())]
    if not panels:
        return None
    titles = [f"{method}: {name}" for method, name in panels]
    figure, axes = small_panels(titles, across="value of the hyperparameter", up="objective", share_x=False)
    top = float(np.percentile(last.objective, 90) * 1.1) if (last.objective > 0).all() else float(last.objective.max())
    for axis, (method, name) in zip(axes, panels):
        rows = last[last.method == method]
        values = [json.loads(text).get(name) for text in rows.hyperparameters]
        objectives = np.minimum(rows.objective.to_numpy(dtype=float), top)
        places = _places(axis, values)
        chosen = rows.chosen.to_numpy(dtype=bool)
        axis.plot(places, objectives, "o", color=BLUE, markersize=3.5, linestyle="")
        axis.plot(places[chosen], objectives[chosen], "o", color=RED, markersize=6, linestyle="")
    return figure


def _places(axis: Axes, values: Sequence[object]) -> np.ndarray:
    """Return where to draw the values, and set the scale of the axis: numbers, or one place per choice."""
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values):
        if min(numbers) > 0 and max(numbers) / min(numbers) > WIDE:
            axis.set_xscale("log")
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        else:
            axis.locator_params(axis="x", nbins=4)
        return np.array(numbers)
    choices = sorted({str(value) for value in values})
    axis.set_xticks(range(len(choices)), [choice[:8] for choice in choices])
    return np.array([float(choices.index(str(value))) for value in values])
