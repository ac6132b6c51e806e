"""Distribution over forget samples of the epsilon that an attack demonstrates."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from raybench.report.html.figures.style import BLUE, GREEN, ORANGE, RED, legend_above, small_panels, styled

BINS = 25


@styled
def epsilon(metrics: pd.DataFrame, samples: pd.DataFrame) -> Figure | None:
    """Plot histograms of epsilon, one panel per population; None without populations.

    Lines: the median of the null (retrained against retrained), that of the control (the originals), and the ceiling,
    the largest finite epsilon that so many models can show. Infinite values are drawn at the right edge.
    """
    populations = metrics[metrics.kind == "population"]
    if populations.empty or "epsilon" not in samples:
        return None
    names = populations.drop_duplicates("model").set_index("model").method
    rows = samples[samples.epsilon.notna() & samples.model.isin(names.index)]
    if rows.empty:
        return None
    rows = rows.assign(method=rows.model.map(names))
    finite = rows.epsilon[np.isfinite(rows.epsilon)]
    ceilings = populations[populations.metric == "epsilon_ceiling"].value.dropna()
    right = float(max([1.0, *finite.tail(0), *([finite.max()] if len(finite) else []), *ceilings]))
    methods = list(dict.fromkeys(rows.method))
    figure, axes = small_panels(methods, across="epsilon (cross-fitted estimate)", up="fraction of samples")
    edges = np.linspace(0, right, BINS + 1)
    for axis, method in zip(axes, methods):
        values = np.clip(rows[rows.method == method].epsilon.to_numpy(dtype=float), 0, right)
        axis.stairs(np.histogram(values, edges)[0] / len(values), edges, color=BLUE, fill=True, alpha=0.6)
        own = populations[populations.method == method].drop_duplicates("metric").set_index("metric").value
        for label, metric, color in (
            ("null", "epsilon_cross_fitted_median_null", GREEN),
            ("original", "epsilon_cross_fitted_median_control", ORANGE),
            ("ceiling", "epsilon_ceiling", RED),
        ):
            if np.isfinite(own.get(metric, np.nan)):
                axis.axvline(min(own[metric], right), color=color, linestyle="--", linewidth=1.2, label=label)
    legend_above(figure, axes[0])
    return figure
