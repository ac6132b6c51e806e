"""Compute the cells of the leaderboard: means over runs, and whether their gaps are significant.

Runs of the same original are averaged first, since only originals are independent of each other.

With several retrained models a gap is significant if it lies outside the prediction interval of one further retrained
model (t distribution), Bonferroni-corrected over the columns. With one retrained model or none, the intervals over
samples decide.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from raybench.metrics.functions.gaps import mean_absolute_gap
from raybench.metrics.functions.intervals import mean_interval
from raybench.report.comparison import PER_ALPHA, Column, Comparison
from raybench.report.leaderboard import Cell, MeanGap, Row
from raybench.scoring.pairs import gap_to_rows, has_pairs, mean_among

ROUNDING = 1e-12  # spread of equal numbers after arithmetic

Record = Mapping[str, Any]


@dataclass(frozen=True)
class RunTables:
    """The metrics and models of a run, and what its numbers are compared with."""

    metrics: pd.DataFrame
    models: pd.DataFrame
    comparison: Comparison

    @cached_property
    def alphas(self) -> dict[str, str]:
        """Return the setting of the first alpha of each metric that has a row per alpha."""
        settings = {name: self.metrics.loc[self.metrics.metric == name, "setting"] for name in PER_ALPHA}
        return {name: next((str(setting) for setting in column if setting), "") for name, column in settings.items()}

    @property
    def alpha(self) -> str:
        """Return the alpha of the columns, "alpha=0.1"."""
        return next(
            (self.alphas[column.metric] for column in self.comparison.columns if column.metric in PER_ALPHA), ""
        )

    def row(self, name: str, kind: str) -> Row:
        """Return the row of the retrained models, the original or one method."""
        is_method = kind == "unlearned"
        models = self.models[(self.models.kind == kind) & ((self.models.method == name) | (not is_method))]
        costs = models["relative_cost"].dropna()
        reasons = models.loc[models.method == name, "reason"].dropna()
        return Row(
            name,
            kind,
            {column.title: self.cell(column, kind, name) for column in self.comparison.columns},
            _mean_gap(self._of(self.comparison.gap_metric, kind, name)),
            relative_cost=float(costs.mean()) if len(costs) and kind != "original" else None,
            status_reason=str(reasons.iloc[0]) if len(reasons) else None,
        )

    def cell(self, column: Column, kind: str, name: str) -> Cell:
        """Return one cell from the metric rows of its models."""
        rows = self._of(column, kind, name)
        runs = rows[rows["value"].notna()]
        values = independent_values(runs)
        if len(values) == 0:
            reasons = rows["reason"].dropna()
            return Cell(reason=str(reasons.iloc[0]) if len(reasons) else "not in evaluate.metrics")
        mean = float(values.mean())
        shown = 1 - mean if column.complement else mean
        half_width = _half_width_over_models(values) if len(values) > 1 else _half_width_over_samples(rows)
        if kind == "retrained":
            records = _records(runs)
            if len(values) > 1 and has_pairs(records[0]):
                among = mean_among(records)
                half_width = (among.high - among.low) / 2
            return Cell(shown, _positive(half_width), len(runs), gap=0.0)
        gap, low, high, distinguishable = self.gap(column, runs, kind)
        sign = -1.0 if column.complement else 1.0
        low, high = (float(np.clip(end, column.low - column.high, column.high - column.low)) for end in (low, high))
        low, high = sorted((sign * low, sign * high))
        distances = runs.assign(value=(runs["value"] - mean + gap).abs())
        distance = math.nan if math.isnan(gap) else mean_absolute_gap(independent_values(distances))
        return Cell(shown, _positive(half_width), len(runs), sign * gap, low, high, distance, distinguishable)

    def gap(self, column: Column, runs: pd.DataFrame, kind: str) -> tuple[float, float, float, bool]:
        """Return the gap of a row's mean to the reference of the column, its interval, and whether it is significant.

        The interval has the level of the test, Bonferroni-corrected over the columns: it excludes 0 where the gap is
        significant. NaN where it would have no width.
        `runs`: the metric rows of its models that have a value. A gap to the original is to the own original of each.
        """
        if column.reference is None or column.reference == kind:
            return math.nan, math.nan, math.nan, False
        mean, half_width = float(independent_values(runs).mean()), _half_width_over_samples(runs)
        if isinstance(column.reference, float):
            return self.gap_by_samples(mean - column.reference, half_width)
        others = self._of(column, column.reference)
        if column.reference == "original":
            own = runs["original"].map(others.set_index("original")["value"])
            difference = float(independent_values(runs.assign(value=runs["value"] - own)).mean())
            return self.gap_by_samples(difference, math.hypot(half_width, _half_width_over_samples(others)))
        reference = others["value"].dropna().to_numpy(dtype=float)
        if len(reference) == 0:
            return math.nan, math.nan, math.nan, False
        if len(reference) == 1:
            both = math.hypot(half_width, _half_width_over_samples(others))
            return self.gap_by_samples(mean - float(reference[0]), both)
        # Runs that share an original vary less than retrained models do, and a mean varies less. It is therefore
        # compared with one further retrained model, not with the retrained mean: a method whose seeds all reproduce the
        # same retrained model must not count as different.
        measured, retrained = _independent_records(runs), _records(others[others["value"].notna()])
        gap = gap_to_rows(measured, retrained, confidence=1 - self.comparison.level)
        if np.ptp(reference) == 0 and not math.isnan(gap.low):  # 100 % on retain, say: samples limit the resolution
            return self.gap_by_samples(gap.gap, half_width)
        return gap.gap, gap.low, gap.high, bool(gap.low > 0 or gap.high < 0)

    def gap_by_samples(self, gap: float, half_width: float) -> tuple[float, float, float, bool]:
        """Return a gap to a single value, whose variance over trainings is unknown: samples give the half-width."""
        half_width = _positive(half_width) * float(ndtri(1 - self.comparison.level / 2) / ndtri(0.975))
        return gap, gap - half_width, gap + half_width, abs(gap) > half_width

    def reference_values(self) -> dict[Column, np.ndarray]:
        """Return the values (N,) of the retrained models in each memory column that is compared with them."""
        columns = [c for c in self.comparison.columns if (c.about, c.reference) == ("memory", "retrained")]
        return {column: self._of(column, "retrained")["value"].dropna().to_numpy(dtype=float) for column in columns}

    @cached_property
    def _rows(self) -> dict[Column | str, pd.DataFrame]:
        """Return the metric rows of each column, at its alpha, and those of the gap that ranks."""
        named = dict(iter(self.metrics.groupby("metric", sort=False)))
        none = self.metrics[:0]
        rows: dict[Column | str, pd.DataFrame] = {}
        for column in self.comparison.columns:
            found = named.get(column.metric, none)
            found = found[found.split.isna() if column.split is None else found.split == column.split]
            rows[column] = found[found.setting == self.alphas[column.metric]] if column.metric in PER_ALPHA else found
        return {**rows, self.comparison.gap_metric: named.get(self.comparison.gap_metric, none)}

    def _of(self, column: Column | str, kind: str, name: str | None = None) -> pd.DataFrame:
        """Return the rows of a column, or of the gap, for the models of one kind, or of one method."""
        rows = self._rows[column]
        rows = rows[rows.kind == kind]
        return rows[rows.method == name] if kind == "unlearned" else rows


def _records(rows: pd.DataFrame) -> list[Record]:
    needed = rows[[name for name in ("value", "original", "by_retrained") if name in rows]]
    return [{str(key): value for key, value in row.items()} for row in needed.to_dict("records")]


def _independent_records(rows: pd.DataFrame) -> list[Record]:
    """Return rows that are independent of each other: with several originals, the mean over the runs of each."""
    records = _records(rows)
    if rows["original"].nunique() < 2:
        return records
    means: list[Record] = []
    for number in rows["original"].unique():
        same = [record for record in records if record["original"] == number]
        mean: dict[str, Any] = {**same[0], "value": float(np.mean([record["value"] for record in same]))}
        if has_pairs(same[0]):
            mean["by_retrained"] = np.mean([np.asarray(record["by_retrained"], dtype=float) for record in same], axis=0)
        means.append(mean)
    return means


def independent_values(rows: pd.DataFrame) -> np.ndarray:
    """Return the values (n,) of rows that are independent of each other: those of the models.

    Where runs of a method start from several originals, each value is the mean over the runs of one original.
    """
    several = rows["original"].nunique() > 1
    values: pd.Series = rows.groupby("original")["value"].mean() if several else rows["value"]
    return np.asarray(values.dropna(), dtype=float)


def _positive(half_width: float) -> float:
    """Return the half-width, or NaN for one of 0: models that agree exactly do not show how far others would differ."""
    return half_width if half_width > ROUNDING else math.nan


def _half_width_over_models(values: np.ndarray) -> float:
    interval = mean_interval(values)
    return (interval.high - interval.low) / 2


def _half_width_over_samples(rows: pd.DataFrame) -> float:
    """Return the mean half-width of the intervals over samples, which the seeds of one method share."""
    return float((rows["high"] - rows["low"]).mean()) / 2


def _mean_gap(rows: pd.DataFrame) -> MeanGap:
    rows = rows[rows.value.notna()]
    values = independent_values(rows)
    if len(values) == 0:
        return MeanGap(reason="a component of the gap is missing")
    if len(values) > 1:
        return MeanGap(float(values.mean()), _positive(_half_width_over_models(values)), len(rows))
    value, low, high = (float(rows[name].iloc[0]) for name in ("value", "low", "high"))
    return MeanGap(value, _positive(max(value - low, high - value)), 1)
