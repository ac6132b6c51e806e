"""The ranked table: each method's metrics, their gap to the retrained distribution, its cost, and a verdict.

A method's row is the mean over its seeds. A gap counts as real only when it lies outside what one further retrained
model would show (prediction interval, t distribution), with Bonferroni over the metrics that the verdict looks at. With
one retrained model or none only the samples' intervals decide, and the words say so (`anchor`). What a rank is worth
stands beside it (`ranking`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.special import ndtri

from raybench.metrics.functions.intervals import mean_interval
from raybench.metrics.functions.statistics import gap_to_reference
from raybench.report import ranking
from raybench.report.anchor import PER_ALPHA, Anchor, Column, anchor_for, anchor_note

LOST, DIFFER, UNMEASURED = "lost utility", "features differ", "not measured in full"


@dataclass(frozen=True)
class Cell:
    """A mean over seeds with its 95 % interval, and its signed gap to what it is held against with its interval."""

    value: float
    half: float  # NaN where one value has no interval
    n: int
    gap: float
    gap_low: float
    gap_high: float
    outside: bool  # the gap is not what retrained models (or, of one or none, the samples) explain, Bonferroni
    reason: str | None
    away: float = math.nan  # mean over the models of the absolute gap of each


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
    rank_low: int | None = None  # the ranks that the seeds do not rule out; None where they cannot say
    rank_high: int | None = None
    forget_gap: float = math.nan  # mean of `away` over the columns of memory, in points
    utility_gap: float = math.nan
    pareto: int | None = None  # the front of forget_gap, utility_gap and cost


@dataclass(frozen=True)
class Leaderboard:
    """The rows in the order to print, and the verdict in words."""

    rows: list[Row]
    verdict: list[str]
    alpha: str
    anchor: Anchor


def leaderboard(
    metrics: pd.DataFrame,
    models: pd.DataFrame,
    trials: pd.DataFrame,
    notes: Mapping[str, str] | None = None,
    *,
    retraining: str = "",
) -> Leaderboard:
    """Build the table from the run's `metrics`, `models` and `trials`.

    `notes`: what is known of a method that comes no nearer to retraining than doing nothing does. `retraining`: what
    training one reference takes, in words, for a run that has too few of them.
    """
    num_retrained = int((models.kind == "retrained").sum())
    anchor = anchor_for(num_retrained)
    table = _Table(metrics, models, anchor)
    rows = [table.row(kind, kind) for kind in ("retrained", "original") if kind == "original" or num_retrained]
    names = list(dict.fromkeys(trials["method"]))
    ranked = [table.row(name, "unlearned") for name in names if _has(metrics, name)]
    ranked.sort(key=lambda row: (math.inf if math.isnan(row.gap.value) else row.gap.value, row.name))
    floor = 0.0 if num_retrained < 2 else rows[0].gap.value
    idle = rows[-1].gap.value
    ranked = [_explained(row, notes or {}, anchor) if row.gap.value >= idle - floor else row for row in ranked]
    measured = [row for row in ranked if not math.isnan(row.gap.value)]
    gaps = ranking.gaps_by_seed(metrics, anchor.gap_metric, [row.name for row in measured])
    placed = ranking.placed(measured, gaps, anchor)
    rows += [*placed, *ranked[len(measured) :]]
    failed = [name for name in names if not _has(metrics, name)]
    for name in failed:
        reasons = trials.loc[(trials.method == name) & trials.reason.notna(), "reason"]
        reason = str(reasons.iloc[0]) if len(reasons) else "no trial finished"
        empty = Cell(math.nan, math.nan, 0, math.nan, math.nan, math.nan, False, reason)
        rows.append(Row(name, "unlearned", None, {}, empty, None, f"failed: {reason}"))
    of_ranks = [*ranking.in_words(placed, gaps, anchor), ranking.power(table.references(), anchor.level)]
    verdict = [*_verdict(rows, anchor), *filter(None, [*of_ranks, anchor_note(num_retrained, retraining)])]
    alpha = next((table.settings[column.metric] for column in anchor.columns if column.metric in PER_ALPHA), "")
    return Leaderboard(rows, verdict, alpha, anchor)


def _explained(row: Row, notes: Mapping[str, str], anchor: Anchor) -> Row:
    why = notes.get(row.name, "no setting that was tried came nearer; widen its search in the experiment")
    return replace(row, note=f"{anchor.idle}. {row.note + '. ' if row.note else ''}{why}")


def _has(metrics: pd.DataFrame, method: str) -> bool:
    return bool(((metrics.method == method) & (metrics.kind == "unlearned")).any())


@dataclass(frozen=True)
class _Table:
    """The run's tables, and what its numbers are held against."""

    metrics: pd.DataFrame
    models: pd.DataFrame
    anchor: Anchor

    @cached_property
    def settings(self) -> dict[str, str]:
        """The first alpha of each metric that has one per alpha."""
        given = {name: self.metrics.loc[self.metrics.metric == name, "setting"] for name in PER_ALPHA}
        return {name: next((str(setting) for setting in found if setting), "") for name, found in given.items()}

    def row(self, name: str, kind: str) -> Row:
        own = self.metrics[(self.metrics.kind == kind) & ((self.metrics.method == name) | (kind != "unlearned"))]
        cells = {column.title: self.cell(column, own, kind) for column in self.anchor.columns}
        models = self.models[(self.models.kind == kind) & ((self.models.method == name) | (kind != "unlearned"))]
        shares = models["cost_share"].dropna()
        cost = float(shares.mean()) if len(shares) and kind != "original" else None
        stopped = models.loc[models.method == name, "reason"].dropna()
        note = str(stopped.iloc[0]) if len(stopped) else ""
        return Row(name, kind, None, cells, _mean_gap(own, self.anchor.gap_metric), cost, note)

    def cell(self, column: Column, own: pd.DataFrame, kind: str) -> Cell:
        found = self.values(own, column)
        values = found["value"].dropna().to_numpy(dtype=float)
        if len(values) == 0:
            reasons = found["reason"].dropna()
            reason = str(reasons.iloc[0]) if len(reasons) else "not asked for"
            return Cell(math.nan, math.nan, 0, math.nan, math.nan, math.nan, False, reason)
        mean = float(values.mean())
        if len(values) > 1:
            interval = mean_interval(values)
            half = (interval.high - interval.low) / 2
        else:  # one model: the interval is that of its samples
            half = _sample_half(found)
        shown = 1 - mean if column.complement else mean
        if kind == "retrained":
            return Cell(shown, half, len(values), 0.0, math.nan, math.nan, False, None)
        gap, low, high, outside = self.gap(column, mean, _sample_half(found), kind)
        sign = -1.0 if column.complement else 1.0
        ends = sorted((sign * low, sign * high))
        away = float(np.abs(values - mean + gap).mean())
        return Cell(shown, half, len(values), sign * gap, ends[0], ends[1], outside, None, away)

    def gap(self, column: Column, mean: float, half: float, kind: str) -> tuple[float, float, float, bool]:
        """Return the gap of a mean to the column's anchor, its interval, and whether it is more than chance."""
        if column.anchor is None or column.anchor == kind:
            return math.nan, math.nan, math.nan, False
        if isinstance(column.anchor, float):
            return self.gap_by_samples(mean - column.anchor, half)
        others = self.values(self.metrics[self.metrics.kind == column.anchor], column)
        reference = others["value"].dropna().to_numpy(dtype=float)
        if len(reference) == 0:
            return math.nan, math.nan, math.nan, False
        if len(reference) == 1:
            return self.gap_by_samples(mean - float(reference[0]), math.hypot(half, _sample_half(others)))
        # seeds of a method share one original, so their mean is held against one further retrained model, not against
        # the retrained mean: a method whose seeds all land on the same perfect retrained model is not to be called
        # different
        plain = gap_to_reference(mean, reference)
        strict = gap_to_reference(mean, reference, confidence=1 - self.anchor.level)
        outside = bool(strict.low > 0 or strict.high < 0)
        if np.ptp(reference) == 0:  # all the same (100 % on retain, say): only the samples limit what can be seen
            outside = abs(plain.gap) > half
        return plain.gap, plain.low, plain.high, outside

    def gap_by_samples(self, gap: float, half: float) -> tuple[float, float, float, bool]:
        """Return a gap to one value, whose own spread is not known: the half-width is that of the samples."""
        strict = float(ndtri(1 - self.anchor.level / 2) / ndtri(0.975))
        return gap, gap - half, gap + half, abs(gap) > strict * half

    def references(self) -> dict[Column, np.ndarray]:
        """Return the retrained models' values (N,) in each column of memory that is held against them."""
        retrained = self.metrics[self.metrics.kind == "retrained"]
        told = [column for column in self.anchor.columns if (column.about, column.anchor) == ("memory", "retrained")]
        return {column: self.values(retrained, column)["value"].dropna().to_numpy(dtype=float) for column in told}

    def values(self, frame: pd.DataFrame, column: Column) -> pd.DataFrame:
        chosen = frame[
            (frame.metric == column.metric)
            & (frame.split.isna() if column.split is None else frame.split == column.split)
        ]
        return chosen[chosen.setting == self.settings[column.metric]] if column.metric in PER_ALPHA else chosen


def _sample_half(found: pd.DataFrame) -> float:
    """Return half of the interval over samples, which seeds of one method share."""
    return float((found["high"] - found["low"]).mean()) / 2


def _mean_gap(own: pd.DataFrame, metric: str) -> Cell:
    rows = own[(own.metric == metric) & own.value.notna()]
    values = rows["value"].to_numpy(dtype=float)
    if len(values) == 0:
        return Cell(math.nan, math.nan, 0, math.nan, math.nan, math.nan, False, "a part of the gap is missing")
    if len(values) > 1:
        interval = mean_interval(values)
        half = (interval.high - interval.low) / 2
    else:
        half = _sample_half(rows)
    return Cell(float(values.mean()), half, len(values), math.nan, math.nan, math.nan, False, None)


def findings(row: Row, anchor: Anchor) -> dict[str, list[str]]:
    """Return what the row's gaps that are more than chance say, in words, with the columns that say it."""
    found: dict[str, list[str]] = {}
    for column in anchor.columns:
        cell = row.cells.get(column.title)
        if cell is None or not cell.outside:
            continue
        if column.about == "memory":
            words = anchor.remembers if np.sign(cell.gap) == column.remembers else anchor.forgot_too_much
        elif cell.gap > 0:
            continue  # better utility, or features closer to the retrained models than these are to each other
        else:
            words = LOST if column.about == "utility" else DIFFER
        found.setdefault(words, []).append(column.title)
    return found


def _verdict(rows: list[Row], anchor: Anchor) -> list[str]:
    original = next(row for row in rows if row.kind == "original")
    order = [anchor.clean, UNMEASURED, anchor.remembers, anchor.forgot_too_much, LOST, DIFFER]
    groups: dict[str, list[str]] = {anchor.clean: []}
    for row in rows:
        if row.kind != "unlearned" or not row.cells:
            continue
        said = findings(row, anchor)
        # what is seen of the original but not of this model must not read as a success
        missing = [t for t, cell in original.cells.items() if not math.isnan(cell.value) and _lacks(row, t)]
        if missing:
            said[UNMEASURED] = missing
        if not said:
            groups[anchor.clean].append(row.name)
        for words, titles in said.items():
            groups.setdefault(words, []).append(f"{row.name} ({', '.join(titles)})")
    lines = [f"{words}: {', '.join(groups[words]) or 'none'}" for words in order if words in groups]
    if idle := [row.name for row in rows if row.note.startswith(anchor.idle)]:
        lines.append(f"{anchor.idle}: {', '.join(idle)} (why: see the notes in report.md)")
    seen = findings(original, anchor).get(anchor.remembers)
    control = f"seen in {', '.join(seen)}" if seen else "NOT told apart, so this audit could not see forgetting at all"
    return [*lines, f"control: {anchor.control} {control}"]


def _lacks(row: Row, title: str) -> bool:
    return math.isnan(row.cells[title].value)
