"""The two metric rows that rank models: the average gap to the retrained models, and the gap to ideal values.

`average_gap`, with retrained models: the mean absolute gap to them in accuracy on forget, retain and test samples (UA,
RA, TA) and in the AUC of the membership inference attack (MIA). Jia et al. 2023 and Fan et al. 2024 call it "Avg. Gap";
their reference is a single retrained model. Where whole classes are forgotten, TA is on test samples of the other
classes.

`gap_to_ideal`, without retrained models:

    100 mean(|accuracy(forget) - accuracy(test)|, |RA - RA of the original|, |TA - TA of the original|, |MIA AUC - 0.5|)

This is the sweep's objective on samples that the sweep does not use: test instead of validation samples, and the attack
against unseen samples. `audit.objective` says what it cannot detect.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from raybench.engine.audit import CHANCE, IDEAL_GAP
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.average_gap import average_gap_estimate
from raybench.metrics.functions.gaps import average_gap_in_points

Row = dict[str, Any]
Cells = Mapping[tuple[str, str | None], Row]

FORGET, RETAIN, TEST = (("accuracy", role) for role in ("forget", "retain", "test"))
ATTACK = ("mia_auc", None)
RETAINED_CLASSES = ("accuracy_retained_classes", "test")  # replaces TEST where whole classes are forgotten
BY_FORGOTTEN_CLASS = ("accuracy_retained_classes", "accuracy_forgotten_classes")  # computed with `accuracy` there
COMPONENTS = (FORGET, RETAIN, TEST, ATTACK)


def average_gap_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one `average_gap` row per model, in points, lower is better; models that lack a component get none.

    A retrained model is compared with the other retrained models. `average_gap_estimate` gives the interval; with one
    retrained model there is none.
    """
    models = _complete_models([row for row in rows if row.get("value") is not None])
    retrained = [cells for cells in models if cells[FORGET]["kind"] == "retrained"]
    gap_rows = []
    for cells in models:
        others = [_values(other) for other in retrained if other[FORGET]["model"] != cells[FORGET]["model"]]
        if others:
            estimate = average_gap_estimate(_values(cells), others)
            gap_rows.append(_gap_row(cells[FORGET], "average_gap", "retrained", estimate))
    return gap_rows


def ideal_gap_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one `gap_to_ideal` row per model, in points, lower is better; models that lack a component get none.

    Each model is compared with its own original, a retrained model with the first. The interval is over samples. Its
    half-width is the mean of those of the four components: they share the test
    samples, and the mean of absolute values exceeds 0 even where nothing differs from the ideal. So it is wide, with a
    coverage of 97 to 100 %; it is missing if a component has none.
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
        value, half_width = average_gap_in_points(gaps), 100 * sum(half_widths) / len(gaps)
        interval = "mean of the four half-widths" if math.isfinite(half_width) else "none: a component has no interval"
        estimate = Estimate(value, max(0.0, value - half_width), value + half_width, len(gaps), interval)
        gap_rows.append(_gap_row(cells[FORGET], IDEAL_GAP, "original", estimate))
    return gap_rows


def _complete_models(rows: Sequence[Row]) -> list[Cells]:
    """Return the four components of each model that has all of them."""
    cells_by_model: dict[str, dict[tuple[str, str | None], Row]] = {}
    for row in rows:
        cell = (row["metric"], row["split"])
        if cell in (*COMPONENTS, RETAINED_CLASSES):
            cells_by_model.setdefault(row["model"], {})[cell] = row
    complete = [cells for cells in cells_by_model.values() if all(part in cells for part in COMPONENTS)]
    return [{**cells, TEST: cells.get(RETAINED_CLASSES, cells[TEST])} for cells in complete]


def _values(cells: Cells) -> list[float]:
    return [cells[component]["value"] for component in COMPONENTS]


def _gap_row(model: Row, metric: str, reference: str, estimate: Estimate) -> Row:
    has_interval = math.isfinite(estimate.high)
    return {
        **{key: model[key] for key in ("model", "name", "kind", "method", "seed", "original")},
        "split": None,
        "metric": metric,
        "setting": "",
        "reference": reference,
        "protocol": "corrected",
        "direction": "lower",
        "value": estimate.value,
        "low": estimate.low if has_interval else None,
        "high": estimate.high if has_interval else None,
        "n": estimate.n,
        "interval": estimate.interval,
        "reason": None,
    }


def _half_width(row: Row) -> float:
    return (row["high"] - row["low"]) / 2 if row["low"] is not None and row["high"] is not None else math.nan
