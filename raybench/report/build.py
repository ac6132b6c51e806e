"""Build the leaderboard from the tables of a run: rows, significance of gaps, ranks and findings."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from raybench.report import ranking
from raybench.report.cells import RunTables
from raybench.report.comparison import Comparison, comparison_for
from raybench.report.leaderboard import Cell, Findings, Leaderboard, MeanGap, Row

NO_ADVICE = "no setting that was tried is better; widen its search space in the experiment"


def build_leaderboard(
    metrics: pd.DataFrame,
    models: pd.DataFrame,
    trials: pd.DataFrame,
    method_notes: Mapping[str, str] | None = None,
    *,
    retraining: str = "",
) -> Leaderboard:
    """Build the leaderboard from a run's `metrics`, `models` and `trials`.

    `method_notes`: by method, the advice for a result that is no better than the original model. `retraining`: the cost
    of one training run in words, shown if the run has too few retrained models.
    """
    num_retrained = int((models.kind == "retrained").sum())
    comparison = comparison_for(num_retrained)
    tables = RunTables(metrics, models, comparison)
    original = tables.row("original", "original")
    references = [tables.row("retrained", "retrained"), original] if num_retrained else [original]
    methods = list(dict.fromkeys(trials["method"]))
    evaluated = [tables.row(name, "unlearned") for name in methods if _has_metrics(metrics, name)]
    evaluated.sort(key=lambda row: (math.inf if math.isnan(row.gap.value) else row.gap.value, row.name))
    noise_floor = 0.0 if num_retrained < 2 else references[0].gap.value
    evaluated = [_compare_with_original(row, original, noise_floor, method_notes or {}) for row in evaluated]
    measured = [row for row in evaluated if not math.isnan(row.gap.value)]
    gaps = ranking.paired_gaps(metrics, comparison.gap_metric, [row.name for row in measured])
    unlearned = metrics[metrics.kind == "unlearned"]
    failed = [_failed(name, trials, comparison) for name in methods if not _has_metrics(metrics, name)]
    rows = [*references, *ranking.with_ranks(measured, gaps, comparison), *evaluated[len(measured) :], *failed]
    return Leaderboard(
        tuple(replace(row, findings=_findings(row, original, comparison)) for row in rows),
        num_retrained=num_retrained,
        num_seeds=unlearned.seed.nunique(),
        num_originals=max(1, unlearned.original.nunique()),
        alpha=tables.alpha,
        retraining=retraining,
        best_two=ranking.best_two(gaps),
        power=ranking.power(tables.reference_values(), comparison.level),
    )


def _has_metrics(metrics: pd.DataFrame, method: str) -> bool:
    return bool(((metrics.method == method) & (metrics.kind == "unlearned")).any())


def _compare_with_original(row: Row, original: Row, noise_floor: float, method_notes: Mapping[str, str]) -> Row:
    """Flag a method whose gap is at least that of the original, less the noise floor."""
    if not row.gap.value >= original.gap.value - noise_floor:
        return row
    return replace(row, no_better_than_original=True, advice=method_notes.get(row.name, NO_ADVICE))


def _failed(method: str, trials: pd.DataFrame, comparison: Comparison) -> Row:
    reasons = trials.loc[(trials.method == method) & trials.reason.notna(), "reason"]
    reason = str(reasons.iloc[0]) if len(reasons) else "no trial finished"
    cells = {column.title: Cell(reason=reason) for column in comparison.columns}
    return Row(method, "unlearned", cells, MeanGap(reason=reason), failed=True, status_reason=reason)


def _findings(row: Row, original: Row, comparison: Comparison) -> Findings:
    """Return what the significant gaps of a row mean.

    Better utility, and features closer to the retrained models than they are to each other, are no findings.
    """
    if row.failed:
        return Findings()
    titles: dict[str, list[str]] = {"remembers": [], "over_forgot": [], "lost_utility": [], "features_differ": []}
    for column in comparison.columns:
        cell = row.cells[column.title]
        if not cell.distinguishable:
            continue
        if column.about == "memory":
            titles["remembers" if np.sign(cell.gap) == column.remembers else "over_forgot"].append(column.title)
        elif cell.gap <= 0:
            titles["lost_utility" if column.about == "utility" else "features_differ"].append(column.title)
    if row.kind == "unlearned":  # a column that the original has and the method lacks must not read as a success
        measured = [title for title, cell in original.cells.items() if not math.isnan(cell.value)]
        titles["not_measured"] = [title for title in measured if math.isnan(row.cells[title].value)]
    return Findings(**{name: tuple(columns) for name, columns in titles.items()})
