"""How exposed the forget samples are under each method."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from raybench.report.html.figures.style import BLUE, INK, MUTED, ORANGE, RED, row_panels, styled

MARKS = (("median", 50, "|", MUTED), ("90th percentile", 90, "o", BLUE), ("99th percentile", 99, "s", ORANGE))


@styled
def exposure(table: pd.DataFrame) -> Figure | None:
    """Plot quantiles of the exposure over the forget samples, and the most exposed sample, one row per method.

    `table`: `exposure.parquet`. None if it is empty.
    """
    if table.empty:
        return None
    groups = {str(name): rows.exposure.to_numpy(dtype=float) for name, rows in table.groupby("method", sort=False)}
    figure, (axis,) = row_panels(list(groups), 1)
    for place, values in enumerate(100 * numbers for numbers in groups.values()):
        axis.plot([np.median(values), values.max()], [place, place], color=MUTED, linewidth=1)
        for label, level, marker, color in MARKS:
            text = label if place == 0 else None
            axis.plot(np.percentile(values, level), place, marker, color=color, markersize=6, linestyle="", label=text)
        axis.plot(values.max(), place, "D", color=RED, markersize=6, label="most exposed" if place == 0 else None)
    axis.axvline(50, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axis.set_xlim(-2, 102)
    axis.set_xlabel("exposure, %: probability that the sample was trained on, at a prior of 2 %")
    figure.legend(loc="outside upper left", ncols=5)
    return figure
