"""Curves of the reported runs: accuracy of each role by epoch."""

import pandas as pd
from matplotlib.figure import Figure

from raybench.report.html.figures.style import FORGET, GREEN, UNSEEN, legend_above, method_order, small_panels, styled

ROLES = {"retain": (GREEN, "-"), "validation": (UNSEEN, "--"), "forget": (FORGET, "-")}


@styled
def training(leaderboard: pd.DataFrame, trials: pd.DataFrame) -> Figure | None:
    """Plot retain, forget and validation accuracy by epoch, means over the final runs, one panel per method.

    None if no run has more than one epoch.
    """
    rows = trials[(trials.phase == "final") & trials.forget_accuracy.notna()]
    several = rows.groupby("method").epoch.nunique()
    methods = method_order(leaderboard, pd.Series(several[several > 1].index))
    if not methods:
        return None
    figure, axes = small_panels(methods, across="epoch", up="accuracy, %")
    for axis, method in zip(axes, methods):
        own = rows[rows.method == method]
        runs = own.groupby("epoch").trial.nunique()
        means = own[own.epoch.isin(runs[runs == runs.max()].index)].groupby("epoch").mean(numeric_only=True)
        for role, (color, line) in ROLES.items():
            axis.plot(means.index + 1, 100 * means[f"{role}_accuracy"], color=color, linestyle=line, label=role)
        axis.locator_params(axis="x", nbins=5, integer=True)
    legend_above(figure, axes[0])
    return figure
