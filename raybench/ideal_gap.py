"""How far a model is from what forgetting should look like, where no retrained model says what that is.

    100 mean(|accuracy(forget) - accuracy(test)|, |RA - the original's|, |TA - the original's|, |attack AUC - 0.5|)

It is the sweep's `gap_to_ideal` on samples that the sweep did not see: test in place of validation, and the attack
against unseen samples. What it cannot see stands at `audit.objective`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raybench.audit import CHANCE, IDEAL_GAP

Row = dict[str, Any]

FORGET, RETAIN, TEST = (("accuracy", role) for role in ("forget", "retain", "test"))
ATTACK = ("mia_auc", None)


def ideal_gap_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one `gap_to_ideal` row per model, in points, lower is better; none for a model that lacks a part.

    The interval is that of the four parts, each taken to be independent; a part that has no interval leaves none.
    """
    parts = (FORGET, RETAIN, TEST, ATTACK)
    found: dict[str, dict[tuple[str, str | None], Row]] = {}
    for row in rows:
        cell = (row["metric"], row["split"])
        if cell in parts and row.get("value") is not None:
            found.setdefault(row["model"], {})[cell] = row
    whole = {model: cells for model, cells in found.items() if len(cells) == len(parts)}
    original = next((cells for cells in whole.values() if cells[FORGET]["kind"] == "original"), None)
    return [] if original is None else [_row(cells, original) for cells in whole.values()]


def _row(cells: Mapping[tuple[str, str | None], Row], original: Mapping[tuple[str, str | None], Row]) -> Row:
    pairs = [(cells[FORGET], cells[TEST]), (cells[RETAIN], original[RETAIN]), (cells[TEST], original[TEST])]
    gaps = [one["value"] - other["value"] for one, other in pairs] + [cells[ATTACK]["value"] - CHANCE]
    # a model is no sample of itself: the original's utility differs from the original's by nothing
    halves = [0.0 if one is other else math.hypot(_half(one), _half(other)) for one, other in pairs]
    value = 100 * float(np.mean(np.abs(gaps)))
    half = 100 * math.hypot(*halves, _half(cells[ATTACK])) / len(gaps)
    known = math.isfinite(half)
    first = cells[FORGET]
    return {
        **{key: first[key] for key in ("model", "name", "kind", "method", "seed")},
        "split": None,
        "metric": IDEAL_GAP,
        "setting": "",
        "reference": "original",
        "protocol": "corrected",
        "direction": "lower",
        "value": value,
        "low": max(0.0, value - half) if known else None,
        "high": value + half if known else None,
        "n": len(gaps),
        "interval": "root of summed squares of the four parts' half-widths" if known else "none: a part has none",
        "reason": None,
    }


def _half(row: Row) -> float:
    return (row["high"] - row["low"]) / 2 if row["high"] is not None and row["low"] is not None else math.nan
