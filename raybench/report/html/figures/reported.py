"""Numbers reported in a paper beside those of the runs, as released and corrected apart."""

import pandas as pd
from matplotlib.figure import Figure

from raybench.report.html.figures.style import BLUE, INK, MUTED, ORANGE, row_panels, styled

SHOWN = 4  # metrics: those with most reported numbers
SERIES = (("reported", INK, "D"), ("released", ORANGE, "o"), ("corrected", BLUE, "s"))


@styled
def reported(frame: pd.DataFrame) -> Figure | None:
    """Plot reported numbers beside the measured ones, one panel per metric; None if no number has both.

    `frame`: `reported.parquet`. Bars: 95 % intervals of the measured means.
    """
    rows = frame[frame.reported.notna() & (frame.released.notna() | frame.corrected.notna())]
    if rows.empty:
        return None
    rows = rows.assign(title=(rows.metric + " " + rows.split.fillna("")).str.strip())
    titles = list(rows.title.value_counts(sort=True).index[:SHOWN])
    rows = rows[rows.title.isin(titles)].drop_duplicates(["title", "method", "preset_or_variant", "metric_setting"])
    methods = list(dict.fromkeys(rows.method))
    figure, axes = row_panels(methods, len(titles))
    for axis, title in zip(axes, titles):
        for row in rows[rows.title == title].to_dict("records"):
            place = methods.index(row["method"])
            values = [row[name] for name, *_ in SERIES if pd.notna(row[name])]
            axis.plot([min(values), max(values)], [place, place], color=MUTED, linewidth=0.8)
            for name, color, marker in SERIES:
                if pd.isna(row[name]):
                    continue
                if name != "reported" and pd.notna(row[f"{name}_low"]):
                    axis.plot([row[f"{name}_low"], row[f"{name}_high"]], [place] * 2, color=color, linewidth=2)
                axis.plot(row[name], place, marker, color=color, markersize=5)
        axis.set_title(title)
        axis.locator_params(axis="x", nbins=4)
    handles = [axes[0].plot([], [], marker, color=color, label=name)[0] for name, color, marker in SERIES]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure
