"""The two numbers that rank: how far a model is from the retrained ones, or from what forgetting should look like.

`average_gap`, where there are retrained models, is the mean distance to them in UA, RA, TA and the attack's AUC (Jia
et al. 2023 and Fan et al. 2024 call it "Avg. Gap"; there the reference is one retrained model). `gap_to_ideal`, where
there are none, is

    100 mean(|accuracy(forget) - accuracy(test)|, |RA - the original's|, |TA - the original's|, |attack AUC - 0.5|)

the sweep's objective on samples that the sweep did not see: test in place of validation, and the attack against unseen
samples. What it cannot see stands at `audit.objective`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raybench.engine.audit import CHANCE, IDEAL_GAP

Row = dict[str, Any]
Cells = Mapping[tuple[str, str | None], Row]

FORGET, RETAIN, TEST = (("accuracy", role) for role in ("forget", "retain", "test"))
ATTACK = ("mia_auc", None)
PARTS = (FORGET, RETAIN, TEST, ATTACK)


def average_gap_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one `average_gap` row per model, in points, lower is better; none for a model that lacks a part.

    The interval is that of the four gaps, each taken to be independent; gaps to one retrained model leave none.
    """
    out = []
    for cells in _whole([row for row in rows if row.get("gap") is not None]):
        halves = [_half(cells[part], "gap_low", "gap_high") for part in PARTS]
        gaps = [cells[part]["gap"] for part in PARTS]
        out.append(_row(cells[FORGET], "average_gap", "retrained", gaps, halves, "none: one retrained model"))
    return out


def ideal_gap_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one `gap_to_ideal` row per model, in points, lower is better; none for a model that lacks a part.

    The interval is that of the four parts, each taken to be independent; a part that has no interval leaves none.
    """
    whole = _whole([row for row in rows if row.get("value") is not None])
    original = next((cells for cells in whole if cells[FORGET]["kind"] == "original"), None)
    if original is None:
        return []
    out = []
    for cells in whole:
        pairs = [(cells[FORGET], cells[TEST]), (cells[RETAIN], original[RETAIN]), (cells[TEST], original[TEST])]
        gaps = [one["value"] - other["value"] for one, other in pairs] + [cells[ATTACK]["value"] - CHANCE]
        # a model is no sample of itself: the original's utility differs from the original's by nothing
        halves = [0.0 if one is other else math.hypot(_half(one), _half(other)) for one, other in pairs]
        out.append(
            _row(cells[FORGET], IDEAL_GAP, "original", gaps, [*halves, _half(cells[ATTACK])], "none: a part has none")
        )
    return out


def _whole(rows: Sequence[Row]) -> list[Cells]:
    """Return the four parts of each model that has them all."""
    found: dict[str, dict[tuple[str, str | None], Row]] = {}
    for row in rows:
        cell = (row["metric"], row["split"])
        if cell in PARTS:
            found.setdefault(row["model"], {})[cell] = row
    return [cells for cells in found.values() if len(cells) == len(PARTS)]


def _row(
    model: Row, metric: str, reference: str, gaps: Sequence[float], halves: Sequence[float], unknown: str
) -> dict[str, Any]:
    value = 100 * float(np.mean(np.abs(gaps)))
    half = 100 * math.hypot(*halves) / len(gaps)
    known = math.isfinite(half)
    return {
        **{key: model[key] for key in ("model", "name", "kind", "method", "seed")},
        "split": None,
        "metric": metric,
        "setting": "",
        "reference": reference,
        "protocol": "corrected",
        "direction": "lower",
        "value": value,
        "low": max(0.0, value - half) if known else None,
        "high": value + half if known else None,
        "n": len(gaps),
        "interval": "root of summed squares of the four half-widths" if known else unknown,
        "reason": None,
    }


def _half(row: Row, low: str = "low", high: str = "high") -> float:
    return (row[high] - row[low]) / 2 if row[low] is not None and row[high] is not None else math.nan
