"""Uncertainty of the mean forget gap and the mean utility gap of each method."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from raybench.report.comparison import PER_ALPHA, Column


def half_widths(metrics: pd.DataFrame, columns: Sequence[Column], setting: str) -> pd.DataFrame:
    """Return `forget` and `utility` by method: half-widths of the 95 % intervals, in points; NaN with a single run.

    Runs of the same original are averaged first, since only originals are independent of each other; with one original,
    the interval is over seeds.
    """
    parts = []
    for column in columns:
        if column.about == "features" or column.reference != "retrained":
            continue
        split = metrics.split.isna() if column.split is None else metrics.split == column.split
        rows = metrics[(metrics.kind == "unlearned") & (metrics.metric == column.metric) & split & metrics.gap.notna()]
        if column.metric in PER_ALPHA:
            rows = rows[rows.setting == setting]
        about = "forget" if column.about == "memory" else "utility"
        rows = rows[["method", "seed", "original", "gap"]]
        parts.append(rows.assign(about=about, column=column.title, gap=100 * rows.gap.abs()))
    if not parts or not any(len(part) for part in parts):
        return pd.DataFrame(columns=["forget", "utility"], dtype=float)
    table = pd.concat(parts)
    several = table.original.nunique() > 1
    units = table.groupby(["method", "about", "original" if several else "seed"]).gap.mean()
    widths = units.groupby(["method", "about"]).agg(_half_width).unstack("about")
    return widths.reindex(columns=["forget", "utility"])


def _half_width(values: pd.Series) -> float:
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
