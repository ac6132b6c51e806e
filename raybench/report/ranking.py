"""What a rank is worth: the ranks that the seeds leave open, the two best apart, the trade-offs, the power of a star.

All of it is about the seeds of one run. Its original, its retrained models and the settings that the sweep chose are
taken as they are, so nothing here says how another run would order the methods.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raybench.metrics.functions.composite import pareto_ranks
from raybench.metrics.functions.statistics import minimum_detectable_difference, paired_test, rank_intervals
from raybench.report.anchor import Anchor, Column

if TYPE_CHECKING:
    from raybench.report.leaderboard import Leaderboard, Row


def gaps_by_seed(metrics: pd.DataFrame, gap_metric: str, methods: Sequence[str]) -> pd.DataFrame:
    """Return the gap that ranks, in points: methods in the given order x seeds, NaN where a method lacks a seed."""
    rows = metrics[(metrics.kind == "unlearned") & (metrics.metric == gap_metric) & metrics.value.notna()]
    return rows.pivot(index="method", columns="seed", values="value").reindex(list(methods))


def placed(rows: Sequence["Row"], gaps: pd.DataFrame, anchor: Anchor) -> list["Row"]:
    """Return the measured methods, in order, with rank, interval of the rank, distances and Pareto front."""
    means = [row.gap.value for row in rows]
    spans = rank_spans(gaps)
    # a method that lacks a column gets no mean of the others: it would be of something else
    forget, utility = (100 * _away(rows, anchor, side).mean(axis=1, skipna=False) for side in ("memory", "utility"))
    cost = pd.Series({row.name: row.cost for row in rows}, dtype=float)
    on = fronts(pd.DataFrame({"forget": forget, "utility": utility, "cost": cost}))
    return [
        replace(
            row,
            rank=means.index(row.gap.value) + 1,
            rank_low=spans[row.name][0] if row.name in spans else None,
            rank_high=spans[row.name][1] if row.name in spans else None,
            forget_gap=float(forget[row.name]),
            utility_gap=float(utility[row.name]),
            pareto=on.get(row.name),
        )
        for row in rows
    ]


def rank_spans(gaps: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return lowest and highest rank that the seeds leave open, of each method that has every seed; none of one seed.

    Ranks are among all methods of `gaps` (methods x seeds). One that lacks a seed is in no paired test, so it may stand
    anywhere, before each of the others too.
    """
    whole = gaps.dropna()
    if gaps.shape[1] < 2 or whole.empty:
        return {}
    anywhere = len(gaps) - len(whole)
    found = zip(whole.index, rank_intervals(whole.to_numpy(dtype=float)))
    return {str(name): (span.low, span.high + anywhere) for name, span in found}


def fronts(objectives: pd.DataFrame) -> dict[str, int]:
    """Return the front of each method (methods x objectives, lower is better); none of one that lacks a number."""
    whole = objectives.dropna()
    if whole.empty:
        return {}
    return {str(name): int(front) for name, front in zip(whole.index, pareto_ranks(whole.to_numpy(dtype=float)))}


def in_words(rows: Sequence["Row"], gaps: pd.DataFrame, anchor: Anchor) -> list[str]:
    """Return the sentences on ranks, on the two best and on trade-offs; nothing of a single method."""
    return [_ranks(rows, gaps), *_best_two(gaps), *_front(rows, anchor)] if len(rows) > 1 else []


def power(references: Mapping[Column, np.ndarray], level: float) -> str | None:
    """Return which gap a star finds with 80 % power, per column, from the retrained models' values (N,).

    The test is the leaderboard's: the mean of a method's seeds against one further retrained model, so that more seeds
    do not sharpen it. Left out are columns in which all retrained models agree, since there the samples decide. Columns
    of memory lie in 0..1: where that takes a gap above 1, a star finds none.
    """
    least = {
        column: minimum_detectable_difference(float(values.std(ddof=1)), n_reference=len(values), alpha=level)
        for column, values in references.items()
        if len(values) > 1 and np.ptp(values) > 0
    }
    if not least:
        return None
    seen = ", ".join(_shown(column, gap) for column, gap in least.items() if gap <= 1)
    blind = ", ".join(column.title for column, gap in least.items() if gap > 1)
    found = [f"a true gap of {seen} or more"] * bool(seen) + [f"no gap in {blind}"] * bool(blind)
    count = max(len(references[column]) for column in least)
    return (
        f"power: with {count} retrained models and any number of seeds a star shows, about 4 times in 5, "
        f"{', and '.join(found)}; what it does not show may be there all the same"
    )


def as_rows(board: "Leaderboard") -> list[dict[str, Any]]:
    """Return the rows of `leaderboard.parquet`; a number that is not there is None."""
    return [
        {
            "method": row.name,
            "kind": row.kind,
            "rank": row.rank,
            "rank_low": row.rank_low,
            "rank_high": row.rank_high,
            "pareto": row.pareto,
            "ranked_by": board.anchor.gap_metric,
            "gap": _known(row.gap.value),
            "gap_low": _known(max(row.gap.value - row.gap.half, 0.0) if row.gap.half >= 0 else math.nan),
            "gap_high": _known(row.gap.value + row.gap.half),
            "n": row.gap.n,
            "forget_gap": _known(row.forget_gap),
            "utility_gap": _known(row.utility_gap),
            "relative_cost": row.cost,
            "reason": row.gap.reason,
        }
        for row in board.rows
    ]


def _away(rows: Sequence["Row"], anchor: Anchor, about: str) -> pd.DataFrame:
    """Return the distances of one side, methods x columns that any of them has a distance in."""
    titles = [column.title for column in anchor.columns if column.about == about]
    found = {row.name: [row.cells[title].away for title in titles] for row in rows}
    return pd.DataFrame.from_dict(found, orient="index", columns=titles, dtype=float).dropna(axis=1, how="all")


def _ranks(rows: Sequence["Row"], gaps: pd.DataFrame) -> str:
    seeds = gaps.shape[1]
    if seeds < 2:
        return "ranks: of one seed a method, so how far chance decided them is not known"
    without = [row.name for row in rows if row.rank_low is None]
    if len(without) == len(rows):
        return "ranks: no method has a number for every seed, so how far chance decided them is not known"
    lacking = f"; no range, since a seed is missing: {', '.join(without)}" if without else ""
    ranges = f"a range holds what {seeds} seeds do not rule out (95 %, all methods together)"
    return f"ranks: rows stand in the order of the mean gap; {ranges}{lacking}"


def _best_two(gaps: pd.DataFrame) -> list[str]:
    """Say whether the best method is told from the next one on the seeds that both have.

    The two are chosen by the means that are then tested. A two-sided test of the best against the next needs no
    correction for that (Gutmann and Maymin 1987), as long as nothing is claimed of any other pair.
    """
    pair = gaps.iloc[:2].dropna(axis=1)
    if pair.shape[1] < 2:
        return []
    best, second = pair.index
    test = paired_test(pair.loc[second].to_numpy(dtype=float), pair.loc[best].to_numpy(dtype=float))
    more, told = test.difference, "told apart" if test.p_t < 0.05 else "not told apart"
    behind = f"{more.value:.2f} points [{more.low:.2f}, {more.high:.2f}]"
    return [f"best two, tested alone: {second} lies {behind} behind {best} (paired t over {more.n} seeds): {told}"]


def _front(rows: Sequence["Row"], anchor: Anchor) -> list[str]:
    best = [row.name for row in rows if row.pareto == 1]
    if not best:
        return []
    memory, utility = (", ".join(_away(rows, anchor, side).columns) for side in ("memory", "utility"))
    sides = f"distance in memory ({memory}), in utility ({utility}) and cost"
    return [f"Pareto front, by the means, of {sides}: {', '.join(best)}"]


def _shown(column: Column, gap: float) -> str:
    factor, digits = column.scale
    return f"{column.title} {factor * gap:.{digits}f}"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
