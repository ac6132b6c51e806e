"""The ranked table: each method's metrics, their gap to the retrained distribution, its cost, and a verdict.

A method's row is the mean over its seeds. A gap counts as real only when it lies outside what one further retrained
model would show (prediction interval, t distribution), with Bonferroni over the metrics that the verdict looks at.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from raybench.metrics.statistics import gap_to_reference, mean_interval

IDLE = "no nearer to retraining than doing nothing"


@dataclass(frozen=True)
class Column:
    """One metric of the leaderboard: where it stands in the table, and which sign of its gap means memory."""

    title: str
    metric: str
    split: str | None
    about: Literal["memory", "utility", "features"]
    remembers: int = 0  # of memory: the sign of a gap which says that something is remembered
    percent: bool = False
    complement: bool = False  # shown as 1 - value


COLUMNS = (
    Column("UA", "accuracy", "forget", "memory", -1, percent=True, complement=True),
    Column("RA", "accuracy", "retain", "utility", percent=True),
    Column("TA", "accuracy", "test", "utility", percent=True),
    Column("MIA AUC", "mia_auc", None, "memory", +1),
    Column("CR_f", "cr", "forget", "memory", +1),
    Column("k-NN_f", "knn", "forget", "memory", +1, percent=True),
    Column("CKA_f", "cka_to_retrained", "forget", "features"),
)


@dataclass(frozen=True)
class Cell:
    """A mean over seeds with its 95 % interval, and its signed gap to the retrained models with theirs."""

    value: float
    half: float  # NaN where one value has no interval
    n: int
    gap: float
    gap_low: float
    gap_high: float
    outside: bool  # the gap is not what retrained models show among themselves, Bonferroni over the columns
    reason: str | None


@dataclass(frozen=True)
class Row:
    """One line: retrained, original, or a method."""

    name: str
    kind: str
    rank: int | None
    cells: dict[str, Cell]
    gap: Cell
    cost: float | None
    note: str


@dataclass(frozen=True)
class Leaderboard:
    """The rows in the order to print, and the verdict in words."""

    rows: list[Row]
    verdict: list[str]
    alpha: str


def leaderboard(
    metrics: pd.DataFrame, models: pd.DataFrame, trials: pd.DataFrame, notes: Mapping[str, str] | None = None
) -> Leaderboard:
    """Build the table from the run's `metrics`, `models` and `trials`.

    `notes`: what is known of a method that comes no nearer to retraining than doing nothing does.
    """
    settings = [s for s in metrics.loc[metrics.metric == "cr", "setting"].unique() if s]
    alpha = str(settings[0]) if settings else ""
    rows = [_row(kind, kind, metrics, models, alpha) for kind in ("retrained", "original")]
    names = list(dict.fromkeys(trials["method"]))
    ranked = [_row(name, "unlearned", metrics, models, alpha) for name in names if _has(metrics, name)]
    ranked.sort(key=lambda row: (math.inf if math.isnan(row.gap.value) else row.gap.value, row.name))
    idle = rows[1].gap.value
    ranked = [_explained(row, notes or {}) if row.gap.value >= idle - rows[0].gap.value else row for row in ranked]
    gaps = [row.gap.value for row in ranked]
    rows += [replace(row, rank=gaps.index(row.gap.value) + 1) if row.gap.value in gaps else row for row in ranked]
    failed = [name for name in names if not _has(metrics, name)]
    for name in failed:
        reasons = trials.loc[(trials.method == name) & trials.reason.notna(), "reason"]
        reason = str(reasons.iloc[0]) if len(reasons) else "no trial finished"
        empty = Cell(math.nan, math.nan, 0, math.nan, math.nan, math.nan, False, reason)
        rows.append(Row(name, "unlearned", None, {}, empty, None, f"failed: {reason}"))
    return Leaderboard(rows, _verdict(rows), alpha)


def _explained(row: Row, notes: Mapping[str, str]) -> Row:
    why = notes.get(row.name, "no setting that was tried came nearer; widen its search in the experiment")
    return replace(row, note=f"{IDLE}. {row.note + '. ' if row.note else ''}{why}")


def _has(metrics: pd.DataFrame, method: str) -> bool:
    return bool(((metrics.method == method) & (metrics.kind == "unlearned")).any())


def _row(name: str, kind: str, metrics: pd.DataFrame, models: pd.DataFrame, alpha: str) -> Row:
    own = metrics[(metrics.kind == kind) & ((metrics.method == name) | (kind != "unlearned"))]
    cells = {column.title: _cell(column, own, metrics, alpha, kind) for column in COLUMNS}
    shares = models.loc[
        (models.kind == kind) & ((models.method == name) | (kind != "unlearned")), "cost_share"
    ].dropna()
    cost = float(shares.mean()) if len(shares) and kind != "original" else None
    stopped = models.loc[(models.kind == kind) & (models.method == name), "reason"].dropna()
    note = str(stopped.iloc[0]) if len(stopped) else ""
    return Row(name, kind, None, cells, _average_gap(own, kind), cost, note)


def _values(frame: pd.DataFrame, column: Column, alpha: str) -> pd.DataFrame:
    chosen = frame[
        (frame.metric == column.metric) & (frame.split.isna() if column.split is None else frame.split == column.split)
    ]
    return chosen[chosen.setting == alpha] if column.metric == "cr" else chosen


def _cell(column: Column, own: pd.DataFrame, metrics: pd.DataFrame, alpha: str, kind: str) -> Cell:
    found = _values(own, column, alpha)
    values = found["value"].dropna().to_numpy(dtype=float)
    if len(values) == 0:
        reasons = found["reason"].dropna()
        reason = str(reasons.iloc[0]) if len(reasons) else "not asked for"
        return Cell(math.nan, math.nan, 0, math.nan, math.nan, math.nan, False, reason)
    sign = -1.0 if column.complement else 1.0
    mean = float(values.mean())
    if len(values) > 1:
        interval = mean_interval(values)
        half = (interval.high - interval.low) / 2
    else:  # one model: the interval is that of its samples
        low, high = found["low"].to_numpy(dtype=float)[0], found["high"].to_numpy(dtype=float)[0]
        half = (high - low) / 2
    shown = 1 - mean if column.complement else mean
    reference = _values(metrics[metrics.kind == "retrained"], column, alpha)["value"].dropna().to_numpy(dtype=float)
    if kind == "retrained" or len(reference) < 2:
        gap = 0.0 if kind == "retrained" else sign * (mean - float(reference.mean())) if len(reference) else math.nan
        return Cell(shown, half, len(values), gap, math.nan, math.nan, False, None)
    # seeds of a method share one original, so their mean is held against one further retrained model, not against the
    # retrained mean: a method whose seeds all land on the same perfect retrained model must not be called different
    plain = gap_to_reference(mean, reference)
    strict = gap_to_reference(mean, reference, confidence=1 - 0.05 / len(COLUMNS))
    outside = bool(strict.low > 0 or strict.high < 0)
    if np.ptp(reference) == 0:  # they are all the same (100 % on retain, say): only the samples limit what can be seen
        outside = abs(plain.gap) > float((found["high"] - found["low"]).mean()) / 2
    ends = sorted((sign * plain.low, sign * plain.high))
    return Cell(shown, half, len(values), sign * plain.gap, ends[0], ends[1], outside, None)


def _average_gap(own: pd.DataFrame, kind: str) -> Cell:
    values = own.loc[own.metric == "average_gap", "value"].dropna().to_numpy(dtype=float)
    if len(values) == 0:
        return Cell(math.nan, math.nan, 0, math.nan, math.nan, math.nan, False, "a part of the gap is missing")
    if len(values) > 1:
        interval = mean_interval(values)
        half = (interval.high - interval.low) / 2
    else:
        one = own[own.metric == "average_gap"].iloc[0]
        half = (float(one["high"]) - float(one["low"])) / 2 if pd.notna(one["high"]) else math.nan
    return Cell(float(values.mean()), half, len(values), math.nan, math.nan, math.nan, False, None)


def findings(row: Row) -> dict[str, list[str]]:
    """Return what the row's gaps outside the retrained spread say, in words, with the columns that say it."""
    found: dict[str, list[str]] = {}
    for column in COLUMNS:
        cell = row.cells.get(column.title)
        if cell is None or not cell.outside:
            continue
        if column.about == "memory":
            words = "still remembers" if np.sign(cell.gap) == column.remembers else "over-forgot"
        elif cell.gap > 0:
            continue  # better utility, or features closer to the retrained models than these are to each other
        else:
            words = "lost utility" if column.about == "utility" else "features differ"
        found.setdefault(words, []).append(column.title)
    return found


def _verdict(rows: list[Row]) -> list[str]:
    groups: dict[str, list[str]] = {"indistinguishable from retrained": []}
    for row in rows:
        if row.kind != "unlearned" or not row.cells:
            continue
        said = findings(row)
        if not said:
            groups["indistinguishable from retrained"].append(row.name)
        for words, titles in said.items():
            groups.setdefault(words, []).append(f"{row.name} ({', '.join(titles)})")
    order = ["indistinguishable from retrained", "still remembers", "over-forgot", "lost utility", "features differ"]
    lines = [f"{words}: {', '.join(groups[words]) or 'none'}" for words in order if words in groups]
    if idle := [row.name for row in rows if row.note.startswith(IDLE)]:
        lines.append(f"{IDLE}: {', '.join(idle)} (why: see the notes in report.md)")
    seen = findings(next(row for row in rows if row.kind == "original")).get("still remembers")
    control = f"seen in {', '.join(seen)}" if seen else "NOT told apart, so this audit could not see forgetting at all"
    return [*lines, f"control: the original against the retrained models is {control}"]
