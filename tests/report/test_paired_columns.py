"""The column that compares pairs of models (CKA_f): gap and interval of the leaderboard come from the pairs."""

import math

import numpy as np
import pytest

from raybench.metrics.functions.references import gap_to_pairs, mean_of_pairs
from raybench.report.cells import RunTables
from raybench.report.comparison import comparison_for

PAIRS = np.array([[0, 0.95, 0.92, 0.94], [0.95, 0, 0.93, 0.91], [0.92, 0.93, 0, 0.96], [0.94, 0.91, 0.96, 0]])
MINE = [(0.80, 0.82, 0.85, 0.81), (0.90, 0.88, 0.87, 0.86)]  # two seeds


def tables_of(make_run, retrained):
    """Return the tables of a run whose CKA rows have the values against each of the first retrained models."""
    columns = {f"retrained-{i}": PAIRS[i, :retrained].copy() for i in range(retrained)}
    columns |= {f"mine-{i}": np.array(values[:retrained]) for i, values in enumerate(MINE)}
    values = (0.87, 0.99, 0.89, 0.53, 0.70, 0.85)
    run = make_run(
        {"mine": [(*values, columns[f"mine-{i}"].mean()) for i in range(2)]}, retrained=[(*values, 0.9)] * retrained
    )
    metrics = run.metrics.copy()
    metrics["by_retrained"] = None
    for i in metrics.index[(metrics.metric == "cka_to_retrained") & (metrics.kind != "original")]:
        row = metrics.loc[i]
        each = columns[f"{row.method}-{row.seed - 1}"]
        if row.kind == "retrained":
            each[row.seed - 1] = math.nan
        metrics.at[i, "by_retrained"] = each
        metrics.at[i, "value"] = np.nanmean(each)
    return RunTables(metrics, run.models, comparison_for(retrained))


def test_the_gap_is_to_the_pairs_among_the_retrained_models(make_run):
    tables = tables_of(make_run, 4)
    cell = tables.row("mine", "unlearned").cells["CKA_f"]
    expected = gap_to_pairs(np.mean(MINE, axis=0), PAIRS, confidence=1 - 0.05 / 7)
    assert (cell.gap, cell.gap_low, cell.gap_high) == pytest.approx((expected.gap, expected.low, expected.high))
    strict = gap_to_pairs(np.mean(MINE, axis=0), PAIRS, confidence=1 - tables.comparison.level)
    assert cell.distinguishable == (strict.high < 0)
    among = mean_of_pairs(PAIRS)
    retrained = tables.row("retrained", "retrained").cells["CKA_f"]
    assert (retrained.value, retrained.half_width) == pytest.approx((among.value, (among.high - among.low) / 2))


def test_two_retrained_models_give_a_gap_without_interval_or_star(make_run):
    tables = tables_of(make_run, 2)
    cell = tables.row("mine", "unlearned").cells["CKA_f"]
    assert cell.gap == pytest.approx(np.mean(MINE, axis=0)[:2].mean() - 0.95)
    assert math.isnan(cell.gap_low)
    assert not cell.distinguishable
    assert math.isnan(tables.row("retrained", "retrained").cells["CKA_f"].half_width)
