"""k-NN transfer of the features to downstream sets."""

import pandas as pd
from matplotlib.figure import Figure

from raybench.report.html.figures.style import BAND, BLUE, GREEN, ORANGE, method_order, row_panels, styled

SHOWN = 5  # downstream sets


@styled
def transfer(leaderboard: pd.DataFrame, metrics: pd.DataFrame) -> Figure | None:
    """Plot k-NN accuracy on each downstream set, means and runs; the band is the range of the retrained models.

    None for a run without downstream sets.
    """
    rows = metrics[(metrics.metric == "downstream_knn") & metrics.value.notna() & metrics.split.notna()]
    sets = sorted(rows.split.unique())[:SHOWN]
    methods = method_order(leaderboard, rows[rows.kind == "unlearned"].method)
    if not sets or not methods:
        return None
    figure, axes = row_panels(["original", *methods], len(sets))
    for axis, name in zip(axes, sets):
        own = rows[rows.split == name]
        retrained = 100 * own[own.kind == "retrained"].value
        if len(retrained):
            axis.axvspan(retrained.min(), retrained.max(), color=BAND, zorder=0)
            axis.axvline(retrained.mean(), color=GREEN, linewidth=1)
        for place, method in enumerate(["original", *methods]):
            kind = "original" if place == 0 else "unlearned"
            values = 100 * own[(own.kind == kind) & ((own.method == method) | (place == 0))].value
            if len(values):
                color = ORANGE if place == 0 else BLUE
                axis.plot([values.min(), values.max()], [place, place], color=color, linewidth=1.5)
                axis.plot(values.mean(), place, "o", color=color, markersize=5)
        axis.set_title(str(name))
        axis.set_xlabel("k-NN accuracy, %")
        axis.locator_params(axis="x", nbins=4)
    return figure
