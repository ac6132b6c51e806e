"""The leaderboard as data: one row per method, with every number and flag that the report shows.

`build_leaderboard` (`report.build`) makes it, `to_table` and `from_table` convert it to `leaderboard.parquet` and back,
and the terminal, `report.md` and the evidence page are rendered from it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from raybench.report.comparison import Column, Comparison, comparison_for
from raybench.storage import tables


@dataclass(frozen=True)
class Cell:
    """The mean of one metric over the models of a row, and its signed gap to the reference of the column."""

    value: float = math.nan
    half_width: float = math.nan  # of the 95 % interval; NaN if there is none, or if all models agree
    n: int = 0  # models
    gap: float = math.nan
    gap_low: float = math.nan  # interval at the level of the comparison: it excludes 0 if distinguishable
    gap_high: float = math.nan
    distance: float = math.nan  # mean over the models of |gap|
    distinguishable: bool = False  # the gap is significant at the level of the comparison; shown as *
    reason: str | None = None  # why there is no value


@dataclass(frozen=True)
class Memory:
    """The residual memory of the models of a row: 0 as retrained, 1 as the original."""

    value: float = math.nan
    low: float = math.nan  # one-sided 95 % bounds
    high: float = math.nan
    detectable: float = math.nan  # the smallest value whose lower bound is above 0
    denied: float = math.nan  # share of the forget samples that the models deny, unlike retrained models
    denied_low: float = math.nan
    reason: str | None = None  # why there is no value


@dataclass(frozen=True)
class MeanGap:
    """The gap that ranks, in points: its mean over the models of a row."""

    value: float = math.nan
    half_width: float = math.nan
    n: int = 0
    reason: str | None = None

    @property
    def low(self) -> float:
        """Return the lower end of the 95 % interval; a mean absolute gap cannot be negative."""
        return max(self.value - self.half_width, 0.0) if self.half_width >= 0 else math.nan

    @property
    def high(self) -> float:
        """Return the upper end of the 95 % interval; all values lie in 0..100 points."""
        return min(self.value + self.half_width, 100.0)


@dataclass(frozen=True)
class Findings:
    """Titles of the columns in which a row is distinguishable from its reference, by what the gap means."""

    remembers: tuple[str, ...] = ()
    over_forgot: tuple[str, ...] = ()
    lost_utility: tuple[str, ...] = ()
    features_differ: tuple[str, ...] = ()
    not_measured: tuple[str, ...] = ()  # columns that the original has a value in and this row lacks

    def by_phrase(self, comparison: Comparison) -> dict[str, tuple[str, ...]]:
        """Return the non-empty findings under the wording of the comparison."""
        phrases = {
            comparison.not_measured: self.not_measured,
            comparison.remembers: self.remembers,
            comparison.over_forgot: self.over_forgot,
            comparison.lost_utility: self.lost_utility,
            comparison.features_differ: self.features_differ,
        }
        return {phrase: titles for phrase, titles in phrases.items() if titles}


@dataclass(frozen=True)
class Row:
    """One row: the retrained models, the original, or a method."""

    name: str
    kind: str  # retrained, original, unlearned
    cells: Mapping[str, Cell]  # by column title
    gap: MeanGap
    memory: Memory = Memory()
    conclusion: str | None = None  # forgotten, remembers, no difference, withheld, failed; methods only
    relative_cost: float | None = None
    findings: Findings = Findings()
    rank: int | None = None
    rank_low: int | None = None  # ranks that the originals (or the seeds of one) do not rule out; None if unknown
    rank_high: int | None = None
    pareto: int | None = None  # front of forget_gap, utility_gap and relative_cost; 1 is best
    forget_gap: float = math.nan  # points: mean distance over the memory columns
    utility_gap: float = math.nan
    failed: bool = False  # no trial produced a model
    no_better_than_original: bool = False
    status_reason: str | None = None  # why the method failed, or why a run stopped early
    advice: str | None = None  # for methods that are no better than the original

    @property
    def passes(self) -> bool:
        """Return whether this is a method with a value in every column and no finding."""
        return self.kind == "unlearned" and not self.failed and self.findings == Findings()


@dataclass(frozen=True)
class BestTwo:
    """Paired t-test between the two best methods, in points, over originals (over seeds with one original)."""

    best: str
    second: str
    difference: float
    low: float
    high: float
    n: int  # originals that both have, or seeds
    distinguishable: bool


@dataclass(frozen=True)
class Power:
    """The smallest gap that each column detects with 80 % power, in the unit of the column; above 1: none."""

    num_retrained: int
    gaps: Mapping[str, float]  # by column title


@dataclass(frozen=True)
class Leaderboard:
    """The rows in display order, and what is known about the comparison as a whole."""

    rows: tuple[Row, ...]
    num_retrained: int
    num_seeds: int  # runs per method
    num_originals: int = 1  # that the runs start from; with one, ranks hold for it only
    alpha: str = ""  # setting of the columns that exist once per alpha, "alpha=0.1"
    retraining: str = ""  # cost of one training run, "40 epochs x 480 samples"
    retained_classes: bool = False  # whole classes are forgotten: TA is on test samples of the others
    margin: float = 0.1  # residual memory below which a method counts as having forgotten
    warnings: tuple[str, ...] = ()  # about the reference models; shown before everything else
    withheld: str | None = None  # why no verdict is given, and what it would need
    best_two: BestTwo | None = None
    power: Power | None = None

    @cached_property
    def comparison(self) -> Comparison:
        """Return the columns and the wording for the number of retrained models."""
        return comparison_for(self.num_retrained, retained_classes=self.retained_classes)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Return the columns in which at least one row has a value."""
        return tuple(
            column
            for column in self.comparison.columns
            if any(not math.isnan(row.cells[column.title].value) for row in self.rows)
        )

    @property
    def original(self) -> Row:
        """Return the row of the original model."""
        return next(row for row in self.rows if row.kind == "original")

    @property
    def ranked(self) -> list[Row]:
        """Return the methods with a rank, best first."""
        return [row for row in self.rows if row.rank is not None]

    def to_table(self) -> pa.Table:
        """Return `leaderboard.parquet`: one row per row; facts about the whole leaderboard are in the metadata."""
        content = tables.table("leaderboard", [_to_record(row, self.comparison) for row in self.rows])
        facts = {key: value for key, value in asdict(self).items() if key != "rows"}
        return tables.noted(content, leaderboard=json.dumps(facts))

    @classmethod
    def from_table(cls, content: pa.Table) -> "Leaderboard":
        """Read the leaderboard back from `leaderboard.parquet`."""
        facts = json.loads(content.schema.metadata[b"raybench_leaderboard"])
        best_two, power = facts.pop("best_two"), facts.pop("power")
        comparison = comparison_for(facts["num_retrained"], retained_classes=facts.get("retained_classes", False))
        return cls(
            rows=tuple(_from_record(record, comparison) for record in content.to_pylist()),
            best_two=BestTwo(**best_two) if best_two else None,
            power=Power(**power) if power else None,
            warnings=tuple(facts.pop("warnings", ())),
            **facts,
        )


COPIED = (
    "kind",
    "rank",
    "rank_low",
    "rank_high",
    "pareto",
    "relative_cost",
    "failed",
    "no_better_than_original",
    "status_reason",
    "advice",
    "conclusion",
)
MEMORY = ("value", "low", "high", "detectable", "denied", "denied_low")
FINDINGS = tuple(Findings.__dataclass_fields__)


def _to_record(row: Row, comparison: Comparison) -> dict[str, Any]:
    return {
        "method": row.name,
        **{name: getattr(row, name) for name in COPIED},
        **{f"memory_{name}": _to_null(getattr(row.memory, name)) for name in MEMORY},
        "memory_reason": row.memory.reason,
        "ranked_by": comparison.gap_metric,
        "gap": _to_null(row.gap.value),
        "gap_low": _to_null(row.gap.low),
        "gap_high": _to_null(row.gap.high),
        "gap_half_width": _to_null(row.gap.half_width),
        "n": row.gap.n,
        "forget_gap": _to_null(row.forget_gap),
        "utility_gap": _to_null(row.utility_gap),
        "passes": row.passes,
        **{name: list(getattr(row.findings, name)) for name in FINDINGS},
        "reason": row.gap.reason,
        **{key: value for column in comparison.columns for key, value in _cell_record(row, column).items()},
    }


def _cell_record(row: Row, column: Column) -> dict[str, Any]:
    cell, name = row.cells[column.title], column.name
    return {
        name: _to_null(cell.value),
        f"{name}_half_width": _to_null(cell.half_width),
        f"{name}_n": cell.n,
        f"{name}_gap": _to_null(cell.gap),
        f"{name}_gap_low": _to_null(cell.gap_low),
        f"{name}_gap_high": _to_null(cell.gap_high),
        f"{name}_distance": _to_null(cell.distance),
        f"{name}_distinguishable": None if math.isnan(cell.gap) else cell.distinguishable,
        f"{name}_reason": cell.reason,
    }


def _from_record(record: Mapping[str, Any], comparison: Comparison) -> Row:
    return Row(
        name=record["method"],
        cells={column.title: _cell(record, column.name) for column in comparison.columns},
        gap=MeanGap(_to_nan(record["gap"]), _to_nan(record["gap_half_width"]), record["n"], record["reason"]),
        memory=Memory(**{name: _to_nan(record[f"memory_{name}"]) for name in MEMORY}, reason=record["memory_reason"]),
        findings=Findings(**{name: tuple(record[name]) for name in FINDINGS}),
        forget_gap=_to_nan(record["forget_gap"]),
        utility_gap=_to_nan(record["utility_gap"]),
        **{name: record[name] for name in COPIED},
    )


def _cell(record: Mapping[str, Any], name: str) -> Cell:
    return Cell(
        value=_to_nan(record[name]),
        half_width=_to_nan(record[f"{name}_half_width"]),
        n=record[f"{name}_n"],
        gap=_to_nan(record[f"{name}_gap"]),
        gap_low=_to_nan(record[f"{name}_gap_low"]),
        gap_high=_to_nan(record[f"{name}_gap_high"]),
        distance=_to_nan(record[f"{name}_distance"]),
        distinguishable=bool(record[f"{name}_distinguishable"]),
        reason=record[f"{name}_reason"],
    )


def _to_null(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _to_nan(value: float | None) -> float:
    return math.nan if value is None else value
