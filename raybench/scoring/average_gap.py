"""The two metric rows that rank models: the average gap to the retrained models, and the gap to ideal values.

`average_gap`, with retrained models: the mean absolute gap to them in accuracy on forget, retain and test samples (UA,
RA, TA) and in the AUC of the membership inference attack (MIA). Jia et al. 2023 and Fan et al. 2024 call it "Avg. Gap";
their reference is a single retrained model.

`gap_to_ideal`, without retrained models:

    100 mean(|accuracy(forget) - accuracy(test)|, |RA - RA of the original|, |TA - TA of the original|, |MIA AUC - 0.5|)

This is the sweep's objective on samples that the sweep does not use: test instead of validation samples, and the attack
against unseen samples. `audit.objective` says what it cannot detect.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from raybench.engine.audit import CHANCE, IDEAL_GAP
from raybench.metrics.functions.gaps import average_gap_in_points

Row = dict[str, Any]
Cells = Mapping[tuple[str, str | None], Row]

FORGET, RETAIN, TEST = (("accuracy", role) for role in ("forget", "retain", "test"))
ATTACK = ("mia_auc", None)
COMPONENTS = (FORGET, RETAIN, TEST, ATTACK)


def average_gap_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one `average_gap` row per model, in points, lower is better; models that lack a component get none.

    The interval treats the four gaps as independent. With one retrained model the gaps have no interval, nor has their
    mean.
    """
    gap_rows = []
    for cells in _complete_models([row for row in rows if row.get("gap") is not None]):
        half_widths = [_half_width(cells[component], "gap_low", "gap_high") for component in COMPONENTS]
        gaps = [cells[component]["gap"] for component in COMPONENTS]
        gap_rows.append(
            _gap_row(cells[FORGET], "average_gap", "retrained", gaps, half_widths, "none: one retrained model")
        )
    return gap_rows


def ideal_gap_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one `gap_to_ideal` row per model, in points, lower is better; models that lack a component get none.

    Each model is compared with its own original, a retrained model with the first. The interval treats the four
    components as independent; it is missing if a component has none.
    """
    models = _complete_models([row for row in rows if row.get("value") is not None])
    originals = {cells[FORGET]["original"]: cells for cells in models if cells[FORGET]["kind"] == "original"}
    gap_rows = []
    for cells in models:
        original = originals.get(cells[FORGET]["original"])
        if original is None:
            continue
        pairs = [(cells[FORGET], cells[TEST]), (cells[RETAIN], original[RETAIN]), (cells[TEST], original[TEST])]
        gaps = [row["value"] - ideal["value"] for row, ideal in pairs] + [cells[ATTACK]["value"] - CHANCE]
        # the original compared with itself: the gap is exactly 0
        half_widths = [
            0.0 if row is ideal else math.hypot(_half_width(row), _half_width(ideal)) for row, ideal in pairs
        ]
        half_widths.append(_half_width(cells[ATTACK]))
        gap_rows.append(
            _gap_row(cells[FORGET], IDEAL_GAP, "original", gaps, half_widths, "none: a component has no interval")
        )
    return gap_rows


def _complete_models(rows: Sequence[Row]) -> list[Cells]:
    """Return the four components of each model that has all of them."""
    cells_by_model: dict[str, dict[tuple[str, str | None], Row]] = {}
    for row in rows:
        cell = (row["metric"], row["split"])
        if cell in COMPONENTS:
            cells_by_model.setdefault(row["model"], {})[cell] = row
    return [cells for cells in cells_by_model.values() if len(cells) == len(COMPONENTS)]


def _gap_row(
    model: Row, metric: str, reference: str, gaps: Sequence[float], half_widths: Sequence[float], no_interval: str
) -> Row:
    value = average_gap_in_points(gaps)
    half_width = 100 * math.hypot(*half_widths) / len(gaps)
    has_interval = math.isfinite(half_width)
    return {
        **{key: model[key] for key in ("model", "name", "kind", "method", "seed", "original")},
        "split": None,
        "metric": metric,
        "setting": "",
        "reference": reference,
        "protocol": "corrected",
        "direction": "lower",
        "value": value,
        "low": max(0.0, value - half_width) if has_interval else None,
        "high": value + half_width if has_interval else None,
        "n": len(gaps),
        "interval": "root of the summed squares of the four half-widths" if has_interval else no_interval,
        "reason": None,
    }


def _half_width(row: Row, low: str = "low", high: str = "high") -> float:
    return (row[high] - row[low]) / 2 if row[low] is not None and row[high] is not None else math.nan
