"""Uncertainty of the ranks: rank ranges, the two best methods, Pareto fronts, and the power of a column.

The unit is the original: runs of the same original are averaged first, and methods are compared in pairs over the
originals. With one original the unit is the run, and ranks hold for that original only; other originals may order the
methods differently ("Coverage of ranks" in docs/power.md). The retrained models and the settings that the sweep chose
are fixed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from raybench.metrics.functions.composite import pareto_ranks
from raybench.metrics.functions.gaps import average_gap_in_points
from raybench.metrics.functions.statistics import minimum_detectable_difference, paired_test, rank_intervals
from raybench.report.comparison import Column, Comparison
from raybench.report.leaderboard import BestTwo, Power, Row


def paired_gaps(metrics: pd.DataFrame, gap_metric: str, methods: Sequence[str]) -> pd.DataFrame:
    """Return the gap that ranks, in points, as methods (in the order of `methods`) x originals, NaN for a missing one.

    Each value is the mean over the runs of one original. With one original, the columns are the seeds of its runs.
    """
    unlearned = metrics[metrics.kind == "unlearned"]
    unit = "original" if unlearned["original"].nunique() > 1 else "seed"
    rows = unlearned[(unlearned.metric == gap_metric) & unlearned.value.notna()]
    return rows.pivot_table(index="method", columns=unit, values="value", aggfunc="mean").reindex(list(methods))


def with_ranks(rows: Sequence[Row], gaps: pd.DataFrame, comparison: Comparison) -> list[Row]:
    """Return the rows with rank, rank range, distances and Pareto front; `rows` are sorted by their gap."""
    means = [row.gap.value for row in rows]
    ranges = rank_ranges(gaps)
    forget = _mean_distances(rows, measured_titles(rows, comparison, "memory"))
    utility = _mean_distances(rows, measured_titles(rows, comparison, "utility"))
    cost = pd.Series({row.name: row.relative_cost for row in rows}, dtype=float)
    fronts = pareto_fronts(pd.DataFrame({"forget": forget, "utility": utility, "cost": cost}))
    return [
        replace(
            row,
            rank=means.index(row.gap.value) + 1,
            rank_low=ranges[row.name][0] if row.name in ranges else None,
            rank_high=ranges[row.name][1] if row.name in ranges else None,
            forget_gap=float(forget[row.name]),
            utility_gap=float(utility[row.name]),
            pareto=fronts.get(row.name),
        )
        for row in rows
    ]


def rank_ranges(gaps: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return the lowest and highest rank of each method that the originals do not rule out; empty with one column.

    `gaps`: methods x originals, or seeds with one original; ranks are among all methods. All ranges hold together in
    95 % of draws (paired t-tests of all pairs, Holm's correction). A method that lacks a column is in no test and gets
    no range; it may have any rank, which widens the ranges of the others.
    """
    complete = gaps.dropna()
    if gaps.shape[1] < 2 or complete.empty:
        return {}
    num_incomplete = len(gaps) - len(complete)
    intervals = zip(complete.index, rank_intervals(complete.to_numpy(dtype=float)))
    return {str(name): (interval.low, interval.high + num_incomplete) for name, interval in intervals}


def pareto_fronts(objectives: pd.DataFrame) -> dict[str, int]:
    """Return the front of each method (methods x objectives, lower is better) that has a value in every objective."""
    complete = objectives.dropna()
    if complete.empty:
        return {}
    return {str(name): int(rank) for name, rank in zip(complete.index, pareto_ranks(complete.to_numpy(dtype=float)))}


def best_two(gaps: pd.DataFrame) -> BestTwo | None:
    """Test whether the best method differs from the second, on the columns that both have; None with fewer than two.

    The test uses the means by which the two were selected. A two-sided test of the best against the second needs no
    correction for the selection (Gutmann and Maymin 1987), as long as no other pair is tested.
    """
    pair = gaps.iloc[:2].dropna(axis=1)
    if len(pair) < 2 or pair.shape[1] < 2:
        return None
    best, second = pair.index
    test = paired_test(pair.loc[second].to_numpy(dtype=float), pair.loc[best].to_numpy(dtype=float))
    difference = test.difference
    return BestTwo(
        str(best),
        str(second),
        float(difference.value),
        float(difference.low),
        float(difference.high),
        int(difference.n),
        bool(test.p_t < 0.05),
    )


def power(references: Mapping[Column, np.ndarray], level: float) -> Power | None:
    """Return the gap per column that a * detects with 80 % power, from the values (N,) of the retrained models.

    The test is that of the leaderboard: the mean over a method's seeds against one further retrained model, so more
    seeds do not increase the power. Columns in which all retrained models agree are left out; there the samples decide.
    Values of memory columns lie in 0..1, so a gap above 1 means that the column detects nothing.
    """
    gaps = {
        column.title: minimum_detectable_difference(float(values.std(ddof=1)), n_reference=len(values), alpha=level)
        for column, values in references.items()
        if len(values) > 1 and np.ptp(values) > 0
    }
    if not gaps:
        return None
    return Power(max(len(values) for column, values in references.items() if column.title in gaps), gaps)


def measured_titles(rows: Sequence[Row], comparison: Comparison, about: str) -> list[str]:
    """Return the columns of one kind in which at least one row has a distance."""
    titles = [column.title for column in comparison.columns if column.about == about]
    return [title for title in titles if any(not math.isnan(row.cells[title].distance) for row in rows)]


def _mean_distances(rows: Sequence[Row], titles: Sequence[str]) -> pd.Series:
    """Return the mean distance of each row over the columns, in points; NaN for a row that lacks a column."""
    values = {
        row.name: average_gap_in_points([row.cells[title].distance for title in titles]) if titles else math.nan
        for row in rows
    }
    return pd.Series(values, dtype=float)
