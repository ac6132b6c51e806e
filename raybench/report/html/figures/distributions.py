"""Distributions of a per-sample value: forget and unseen samples, and forget samples under retrained models."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from raybench.report.html.figures.style import FORGET, ORIGINAL, RETRAINED, UNSEEN, legend_above, small_panels, styled

BINS = 30
NOTHING = np.empty(0)


@styled
def distributions(
    leaderboard: pd.DataFrame, models: pd.DataFrame, samples: pd.DataFrame, value: Literal["loss", "margin"]
) -> Figure | None:
    """Plot histograms of the loss (log scale) or the margin, one panel per method; None if there are no values.

    `models`, `samples`: the tables of these names. All runs of a method are pooled. A method that forgot has the
    forget samples distributed as under retrained models.
    """
    names = models.set_index("model")[["kind", "method"]]
    rows = samples.loc[samples[value].notna() & samples.model.isin(names.index), ["model", "split", value]]
    rows = rows[rows.split.isin(["forget", "unseen"])]
    if rows.empty:
        return None
    numbers = rows[value].to_numpy(dtype=float)
    rows = rows.assign(number=np.log10(np.clip(numbers, 1e-8, None)) if value == "loss" else numbers)
    rows = rows[np.isfinite(rows.number)].join(names, on="model")
    low, high = np.percentile(rows.number, [0.5, 99.5])
    edges = np.linspace(low, max(high, low + 1e-9), BINS + 1)
    groups = {key: group.to_numpy() for key, group in rows.groupby(["kind", "method", "split"]).number}
    methods = [name for name in leaderboard.method if ("unlearned", name, "forget") in groups]
    if not methods:
        return None
    across = "loss (log scale)" if value == "loss" else "margin: logit of the true class - largest other"
    figure, axes = small_panels(methods, across=across, up="fraction of samples")
    for axis, method in zip(axes, methods):
        curves = [
            ("original, forget", _of_kind("original", groups), ORIGINAL, ":", 1.2),
            ("retrained, forget", _of_kind("retrained", groups), RETRAINED, "--", 1.2),
            ("method, unseen", groups.get(("unlearned", method, "unseen"), NOTHING), UNSEEN, "-", 1.3),
            ("method, forget", groups["unlearned", method, "forget"], FORGET, "-", 2.0),
        ]
        for label, values, color, line, width in curves:
            if len(values):
                density = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
                axis.stairs(density, edges, color=color, linestyle=line, linewidth=width, label=label)
        axis.set_yticks([])
        axis.grid(axis="y", visible=False)
        if value == "loss":
            axis.xaxis.set_major_formatter(lambda place, _: f"1e{place:g}")
    legend_above(figure, axes[0])
    return figure


def _of_kind(kind: str, groups: Mapping[Any, np.ndarray]) -> np.ndarray:
    """Return the values of the forget samples under all models of a kind."""
    return np.concatenate(
        [NOTHING, *(values for key, values in groups.items() if key[0] == kind and key[2] == "forget")]
    )
