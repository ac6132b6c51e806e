"""Coverage of conformal prediction sets against the nominal level."""

import pandas as pd
from matplotlib.figure import Figure

from raybench.report.html.figures.style import (
    FORGET,
    GREEN,
    MUTED,
    UNSEEN,
    legend_above,
    method_order,
    small_panels,
    styled,
)

SPLITS = {"forget": (FORGET, "o"), "test": (GREEN, "s"), "unseen": (UNSEEN, "^")}


@styled
def coverage(leaderboard: pd.DataFrame, metrics: pd.DataFrame) -> Figure | None:
    """Plot coverage against 1 - alpha, means over models, one panel per row of the leaderboard; None without coverage.

    Coverage of forget samples above the diagonal: the model recognizes them.
    """
    rows = metrics[(metrics.metric == "coverage") & metrics.setting.str.startswith("alpha=") & metrics.value.notna()]
    rows = rows[rows.split.isin(list(SPLITS))]
    if rows.empty:
        return None
    rows = rows.assign(nominal=1 - rows.setting.str.extract(r"^alpha=([^,]+)", expand=False).astype(float))
    unlearned = rows[rows.kind == "unlearned"]
    groups = {kind: rows[rows.kind == kind] for kind in ("original", "retrained")}
    groups |= {name: unlearned[unlearned.method == name] for name in method_order(leaderboard, unlearned.method)}
    groups = {name: group for name, group in groups.items() if len(group)}
    figure, axes = small_panels(list(groups), across="1 - alpha", up="coverage")
    ends = (rows.nominal.min(), rows.nominal.max())
    for axis, group in zip(axes, groups.values()):
        axis.plot(ends, ends, color=MUTED, linewidth=1, linestyle="--", label="1 - alpha")
        means = group.groupby(["split", "nominal"]).value.mean()
        for split, (color, marker) in SPLITS.items():
            if split in means.index.get_level_values(0):
                line = means.loc[split].sort_index()
                axis.plot(line.index, line.to_numpy(), marker=marker, color=color, markersize=4.5, label=split)
        axis.locator_params(axis="x", nbins=4)
        axis.yaxis.set_major_formatter("{x:.2f}")
    legend_above(figure, axes[0])
    return figure
