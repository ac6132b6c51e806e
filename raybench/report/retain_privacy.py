"""The section on retain samples: how well an attack recognizes them before unlearning, after it, after retraining."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from raybench.metrics.functions.intervals import mean_interval
from raybench.metrics.functions.statistics import gap_to_reference
from raybench.report.table import markdown_table

COLUMNS = {"attack AUC": "retain_exposure_auc", "TPR at 1 % FPR": "retain_exposure_tpr_at_fpr_0.01"}
LEGEND = (
    "Membership inference attack on the losses of retain samples against unseen ones: area under the curve (AUC, 0.5 = "
    "chance), and the fraction of retain samples that it finds at 1 % false positives (true positive rate, TPR). "
    "Before: the original; after: the methods. A value above the original's by more than the intervals means that the "
    "samples that stay became easier to recognize. [95 % interval]: over the models of a row, over samples for a "
    "single model; of a gap: prediction interval of one further retrained model."
)


@dataclass(frozen=True)
class RetainPrivacy:
    """The table: head, and one row of texts per kind of model."""

    head: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """Return the section of `report.md`."""
        return "\n\n".join([markdown_table(self.head, self.rows), LEGEND])


def retain_privacy(metrics: pd.DataFrame, methods: Sequence[str]) -> RetainPrivacy | None:
    """Build the table from the rows of `retain_exposure`, methods in the given order; None if the run has none."""
    if not metrics.metric.isin(COLUMNS.values()).any():
        return None
    groups = {"original (before)": metrics[metrics.kind == "original"]}
    if (metrics.kind == "retrained").any():
        groups["retrained"] = metrics[metrics.kind == "retrained"]
    groups |= {name: metrics[(metrics.kind == "unlearned") & (metrics.method == name)] for name in methods}
    head = ["", *(text for title in COLUMNS for text in (title, "gap to retrained"))]
    reference = {name: _values(groups.get("retrained", metrics[:0]), name) for name in COLUMNS.values()}
    rows = []
    for label, group in groups.items():
        cells = [
            text
            for name in COLUMNS.values()
            for text in (_value(group, name), "-" if label == "retrained" else _gap(group, name, reference[name]))
        ]
        rows.append([label, *cells])
    return RetainPrivacy(head, rows)


def _rows(metrics: pd.DataFrame, name: str) -> pd.DataFrame:
    return metrics[(metrics.metric == name) & metrics.value.notna()]


def _values(metrics: pd.DataFrame, name: str) -> np.ndarray:
    values: np.ndarray = _rows(metrics, name)["value"].to_numpy(dtype=float)
    return values


def _value(metrics: pd.DataFrame, name: str) -> str:
    rows, values = _rows(metrics, name), _values(metrics, name)
    if len(values) == 0:
        return "-"
    if len(values) == 1:
        low, high = float(rows["low"].iloc[0]), float(rows["high"].iloc[0])
    else:
        _, low, high, *_ = mean_interval(values)
        low, high = max(low, 0.0), min(high, 1.0)
    ends = f" [{low:.3f}, {high:.3f}]" if high > low else ""
    return f"{values.mean():.3f}{ends}"


def _gap(metrics: pd.DataFrame, name: str, reference: np.ndarray) -> str:
    values = _values(metrics, name)
    if len(values) == 0 or len(reference) == 0:
        return "-"
    gap = gap_to_reference(float(values.mean()), reference)
    ends = f" [{gap.low:+.3f}, {gap.high:+.3f}]" if gap.high > gap.low else ""
    return f"{gap.gap:+.3f}{ends}"
