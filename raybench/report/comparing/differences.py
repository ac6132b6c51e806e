"""Differences of a method between runs of one protocol, with their uncertainty; runs are never pooled.

The interval of a difference is that of MOVER (Zou and Donner 2008): it takes the intervals of both values, which need
not be symmetric, as independent. Runs that share retrained models or originals have correlated values, so that the
interval is wider than it needs to be, never narrower.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from raybench.report.comparing.run_summary import RunSummary
from raybench.report.comparing.scenarios import Protocol
from raybench.report.leaderboard import Row

MEMORY, GAP = "memory left, %", "gap, points"


class Interval(NamedTuple):
    """A value with its bounds; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MethodDifference:
    """A method in two runs, `newer` - `older`; the numbers count the runs of the protocol from 0."""

    method: str
    newer: int
    older: int
    settings: tuple[str, ...]  # hyperparameters that differ, as `lr 0.1/0.2`, newer first
    same_models: bool  # both runs report the same stored models, so the method does not differ
    values: Mapping[str, Interval]  # by title; bounds of `memory left` are one-sided 95 %, those of others two-sided


def difference(first: Interval, second: Interval) -> Interval:
    """Return `first` - `second` with the bounds of MOVER; bounds are NaN where a value has none."""
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value, value - below, value + above)


def method_differences(protocol: Protocol) -> list[MethodDifference]:
    """Return the differences of every method that several runs have: the newest of them against each other one."""
    rows = [{row.name: row for row in run.board.rows if row.kind == "unlearned"} for run in protocol.runs]
    methods = dict.fromkeys(name for names in rows for name in names)
    return [item for method in methods for item in _of_method(method, protocol.runs, rows)]


def _of_method(method: str, runs: tuple[RunSummary, ...], rows: list[dict[str, Row]]) -> Iterator[MethodDifference]:
    having = [number for number, names in enumerate(rows) if method in names]
    for older in having[1:]:
        newer = having[0]
        one, other = runs[newer].methods.get(method), runs[older].methods.get(method)
        first, second = _values(runs[newer], rows[newer][method]), _values(runs[older], rows[older][method])
        yield MethodDifference(
            method,
            newer,
            older,
            tuple(_settings(one.hyperparameters, other.hyperparameters)) if one and other else (),
            bool(one and other and one.models == other.models),
            {title: difference(first[title], second[title]) for title in first if title in second},
        )


def _values(run: RunSummary, row: Row) -> dict[str, Interval]:
    """Return the values that are compared, in the units of the report."""
    values = {MEMORY: Interval(*(100 * value for value in (row.memory.value, row.memory.low, row.memory.high)))}
    for column in run.board.comparison.columns:
        if column.about == "utility":
            cell, factor = row.cells[column.title], column.scale[0]
            values[f"{column.title}, %"] = _symmetric(factor * cell.value, factor * cell.half_width)
    values[GAP] = _symmetric(row.gap.value, row.gap.half_width)
    return values


def _symmetric(value: float, half_width: float) -> Interval:
    """Return the interval; one of no width comes from a single run and says nothing."""
    half_width = half_width if half_width > 0 else math.nan
    return Interval(value, value - half_width, value + half_width)


def _settings(first: Mapping[str, object], second: Mapping[str, object]) -> Iterator[str]:
    for key in dict.fromkeys([*first, *second]):
        if first.get(key) != second.get(key):
            yield f"{key} {_text(first.get(key))}/{_text(second.get(key))}"


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
