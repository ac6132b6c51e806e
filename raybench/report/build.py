"""Build the leaderboard from the tables of a run: rows, significance of gaps, ranks and findings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from raybench.report import ranking
from raybench.report.cells import RunTables
from raybench.report.comparison import RETAINED_CLASSES, Comparison, comparison_for
from raybench.report.conclusion import FAILED, conclude, withheld
from raybench.report.leaderboard import MEMORY, Cell, Findings, Leaderboard, MeanGap, Memory, Row

NO_ADVICE = "no setting that was tried is better; widen its search space in the experiment"


def build_leaderboard(
    metrics: pd.DataFrame,
    models: pd.DataFrame,
    trials: pd.DataFrame,
    method_notes: Mapping[str, str] | None = None,
    *,
    memory: pd.DataFrame | None = None,
    margin: float = 0.1,
    retraining: str = "",
    warnings: Sequence[str] = (),
) -> Leaderboard:
    """Build the leaderboard from a run's `metrics`, `models` and `trials`.

    `memory`: the table of residual memory, None for a run that has none; `margin`: the residual memory below which a
    method counts as having forgotten. `method_notes`: by method, the advice for a result that is no better than the
    original model. `retraining`: the cost of one training run in words, shown if the run has too few retrained models.
    `warnings`: about the reference models.
    """
    num_retrained = int((models.kind == "retrained").sum())
    retained_classes = bool(metrics.loc[metrics.metric == RETAINED_CLASSES, "value"].notna().any())
    comparison = comparison_for(num_retrained, retained_classes=retained_classes)
    tables = RunTables(metrics, models, comparison)
    original = tables.row("original", "original")
    references = [tables.row("retrained", "retrained"), original] if num_retrained else [original]
    methods = list(dict.fromkeys(trials["method"]))
    evaluated = [tables.row(name, "unlearned") for name in methods if _has_metrics(metrics, name)]
    evaluated.sort(key=lambda row: (math.inf if math.isnan(row.gap.value) else row.gap.value, row.name))
    noise_floor = 0.0 if num_retrained < 2 else references[0].gap.value
    gaps = ranking.paired_gaps(metrics, comparison.gap_metric, [row.name for row in evaluated])
    of_originals = ranking.original_gaps(metrics, comparison.gap_metric)
    evaluated = [
        _compare_with_original(row, original, gaps.loc[row.name], of_originals, noise_floor, method_notes or {})
        for row in evaluated
    ]
    measured = [row for row in evaluated if not math.isnan(row.gap.value)]
    gaps = gaps.loc[[row.name for row in measured]]
    unlearned = metrics[metrics.kind == "unlearned"]
    failed = [_failed(name, trials, comparison) for name in methods if not _has_metrics(metrics, name)]
    rows: list[Row] = [
        *references,
        *ranking.with_ranks(measured, gaps, comparison),
        *evaluated[len(measured) :],
        *failed,
    ]
    rows = [replace(row, findings=_findings(row, original, comparison), memory=_memory(memory, row)) for row in rows]
    reference = next(row.memory for row in rows if row.kind == "original")
    reason = withheld(reference, num_retrained, retraining, provided=_provided(models))
    return Leaderboard(
        tuple(_concluded(row, margin, measurable=reason is None) for row in rows),
        num_retrained=num_retrained,
        num_seeds=unlearned.seed.nunique(),
        num_originals=max(1, unlearned.original.nunique()),
        alpha=tables.alpha,
        retraining=retraining,
        retained_classes=retained_classes,
        margin=margin,
        warnings=tuple(warnings),
        withheld=reason,
        best_two=ranking.best_two(gaps),
        power=ranking.power(tables.reference_values(), comparison.level),
    )


def _provided(models: pd.DataFrame) -> bool:
    """Return whether the retrained models are checkpoints of the user: raybench knows no recipe of theirs."""
    recipes = models.loc[models.kind == "retrained", "recipe"] if "recipe" in models else pd.Series(["unknown"])
    return bool(recipes.isna().all())


def _has_metrics(metrics: pd.DataFrame, method: str) -> bool:
    return bool(((metrics.method == method) & (metrics.kind == "unlearned")).any())


def _memory(memory: pd.DataFrame | None, row: Row) -> Memory:
    """Return the residual memory of a row."""
    if memory is None:
        return Memory(reason="this run has no table of residual memory")
    rows = memory[(memory.method == row.name) & (memory.kind == row.kind)]
    if rows.empty:
        return Memory(reason=row.status_reason or "no model has finite losses on the forget set")
    record = rows.iloc[0]
    reason = record["reason"] if isinstance(record["reason"], str) else None
    return Memory(**{name: float(record[name]) for name in MEMORY}, reason=reason)


def _concluded(row: Row, margin: float, *, measurable: bool) -> Row:
    if row.kind != "unlearned":
        return row
    return replace(
        row,
        conclusion=FAILED if row.failed else conclude(row.memory, row.findings, margin, measurable=measurable),
    )


def _compare_with_original(
    row: Row,
    original: Row,
    gaps: pd.Series,
    of_originals: pd.Series,
    noise_floor: float,
    method_notes: Mapping[str, str],
) -> Row:
    """Flag a method whose gap is not significantly smaller than that of the original that it started from.

    The test is paired over originals, one-sided at 5 %. With one original there is nothing to pair; the gap must then
    be smaller by more than the noise floor.
    """
    differences = (gaps - of_originals).dropna()
    if gaps.index.name == "original" and len(differences) > 1:
        half_width = stdtrit(len(differences) - 1, 0.95) * differences.std(ddof=1) / math.sqrt(len(differences))
        better = differences.mean() + half_width < 0
    else:
        better = not row.gap.value >= original.gap.value - noise_floor
    return row if better else replace(row, no_better_than_original=True, advice=method_notes.get(row.name, NO_ADVICE))


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
