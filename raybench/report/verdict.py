"""The conclusions of the leaderboard as sentences: findings per method, the control, ranks and power."""

import math

from raybench.report.cell_text import cost_text
from raybench.report.comparison import Comparison, missing_references
from raybench.report.conclusion import FORGOTTEN, NO_DIFFERENCE, REMEMBERS, WITHHELD, describe, percent
from raybench.report.leaderboard import Leaderboard, Row
from raybench.report.ranking import measured_titles

ROUNDING = 0.005  # costs are shown in whole percent


def verdict(board: Leaderboard) -> list[str]:
    """Return the lines that follow the table: what each method left, what it damaged, and whether ranks hold."""
    comparison = board.comparison
    few = board.withheld is not None  # then the columns are all there is
    phrases = (comparison.not_measured, *([comparison.remembers] if few else []), comparison.over_forgot)
    lines = [*board.warnings, *_memory(board), *_findings(board, *phrases, comparison.lost_utility)]
    lines += [*_no_better(board), *_expensive(board), control(board)]
    if len(board.ranked) > 1:
        lines += [_ranks(board), *_best_two(board)]
    missing = missing_references(board.num_retrained, board.retraining)
    return [*lines, missing] if missing else lines


def details(board: Leaderboard) -> list[str]:
    """Return the lines that only the report has: further findings of columns, Pareto front, power of the columns."""
    comparison, power = board.comparison, _power(board)
    phrases = (*([] if board.withheld is not None else [comparison.remembers]), comparison.features_differ)
    return [
        *_findings(board, *phrases),
        *(_pareto_front(board) if len(board.ranked) > 1 else []),
        *([power] if power else []),
    ]


def validity(board: Leaderboard) -> list[str]:
    """Return the lines on what the comparison can detect at all: control, power, missing references."""
    withheld = [f"no verdict: {board.withheld}"] if board.withheld else []
    return [*withheld, control(board), *limits_of_power(board)]


def control(board: Leaderboard) -> str:
    """Return whether the evaluation detects that the original remembers; without that, no finding means nothing."""
    titles, pair = board.original.findings.remembers, board.comparison.control
    memory = next((row.memory for row in board.rows if row.kind == "retrained"), board.original.memory)
    seen = f"control: {', '.join(titles)} {'separates' if len(titles) == 1 else 'separate'} {pair}"
    if not titles:
        seen = f"control: NO column separates {pair}"
    if memory.reason is None:
        return f"{seen}; an audit of one model detects {percent(memory.detectable)} % of the original's memory"
    return seen if titles else f"{seen}, so this evaluation cannot detect forgetting"


def limits_of_power(board: Leaderboard) -> list[str]:
    """Return the lines on detectable gaps and on missing references."""
    return [line for line in (_power(board), missing_references(board.num_retrained, board.retraining)) if line]


def _memory(board: Leaderboard) -> list[str]:
    """Return one line per conclusion with the methods that it holds for."""
    if board.withheld:
        return [f"no verdict on forgetting: {board.withheld}"]
    titles = {
        FORGOTTEN: f"forgotten (less than {percent(board.margin)} % left)",
        NO_DIFFERENCE: "no difference found",
        REMEMBERS: "remembers",
        WITHHELD: "no verdict",
    }
    lines = []
    for conclusion, title in titles.items():
        rows = [row for row in board.rows if row.conclusion == conclusion]
        if rows:
            texts = [
                f"{row.name} {row.memory.reason or describe(row.memory, row.findings, conclusion)}" for row in rows
            ]
            lines.append(f"{title}: {'; '.join(texts)}")
    return lines


def _findings(board: Leaderboard, *phrases: str) -> list[str]:
    """Return a line for each of these phrases that holds for a method, with the sizes of the gaps."""
    comparison = board.comparison
    groups: dict[str, dict[str, list[str]]] = {}
    for row in board.rows:
        if row.kind != "unlearned":
            continue
        for phrase, titles in row.findings.by_phrase(comparison).items():
            groups.setdefault(phrase, {})[row.name] = [_size(row, title, comparison) for title in titles]
        if row.memory.denied_low > 0:
            denied = f"denies {percent(row.memory.denied)} % of the forget samples"
            groups.setdefault(comparison.over_forgot, {}).setdefault(row.name, []).append(denied)
    lines = []
    for phrase in phrases:
        if phrase in groups:
            texts = [f"{name} ({', '.join(found)})" for name, found in groups[phrase].items()]
            lines.append(f"{phrase}: {', '.join(texts)}")
    return lines


def _no_better(board: Leaderboard) -> list[str]:
    comparison = board.comparison
    lines = []
    if names := [row.name for row in board.rows if row.no_better_than_original]:
        lines.append(f"{comparison.no_better}: {', '.join(names)} (see the notes in report.md)")
    return lines


def _expensive(board: Leaderboard) -> list[str]:
    """Return the methods that cost more than retraining, which is exact: there is no reason to use them here."""
    names = [
        f"{row.name} ({cost_text(row.relative_cost)})"
        for row in board.rows
        if row.kind == "unlearned" and (row.relative_cost or 0) > 1 + ROUNDING
    ]
    return [f"costs more than retraining: {', '.join(names)}"] if names else []


def _size(row: Row, title: str, comparison: Comparison) -> str:
    """Return a column with the size of its gap, `TA -11.8`."""
    gap = row.cells[title].gap
    column = next(column for column in comparison.columns if column.title == title)
    factor, digits = column.scale
    return title if math.isnan(gap) else f"{title} {factor * gap:+.{digits}f}"


def _ranks(board: Leaderboard) -> str:
    if board.num_seeds < 2:
        return "ranks: they rest on one seed per method; their uncertainty is unknown"
    several = board.num_originals > 1
    unit, one = ("original", "an original") if several else ("seed", "a seed")
    incomplete = [row.name for row in board.ranked if row.rank_low is None]
    if len(incomplete) == len(board.ranked):
        return f"ranks: no method has a gap for every {unit}; their uncertainty is unknown"
    missing = f"; no range because {one} is missing: {', '.join(incomplete)}" if incomplete else ""
    units = f"{board.num_originals} originals" if several else f"{board.num_seeds} seeds of one original"
    holds = f"they hold over originals, from {units}" if several else "they hold for this original only"
    return (
        f"ranks: {holds}; rows are sorted by mean gap; a range contains the ranks that {units} do not rule out (95 %, "
        f"family-wise over all methods){missing}"
    )


def _best_two(board: Leaderboard) -> list[str]:
    pair = board.best_two
    if pair is None:
        return []
    conclusion = "distinguishable" if pair.distinguishable else "not distinguishable"
    units = "originals" if board.num_originals > 1 else "seeds, for this original only"
    return [
        f"best two: {pair.second} is {pair.difference:.2f} points [{pair.low:.2f}, {pair.high:.2f}] behind {pair.best} "
        f"(paired t-test over {pair.n} {units}): {conclusion}"
    ]


def _pareto_front(board: Leaderboard) -> list[str]:
    names = [row.name for row in board.ranked if row.pareto == 1]
    if not names:
        return []
    memory, utility = (
        ", ".join(measured_titles(board.ranked, board.comparison, about)) for about in ("memory", "utility")
    )
    return [f"Pareto front of mean forget gap ({memory}), mean utility gap ({utility}) and cost: {', '.join(names)}"]


def _power(board: Leaderboard) -> str | None:
    if board.power is None:
        return None
    scales = {column.title: column.scale for column in board.comparison.columns}
    detectable = [
        f"{title} {scales[title][0] * gap:.{scales[title][1]}f}" for title, gap in board.power.gaps.items() if gap <= 1
    ]
    undetectable = [title for title, gap in board.power.gaps.items() if gap > 1]
    parts = [f"80 % power to detect a gap of {', '.join(detectable)}"] if detectable else []
    parts += [f"no gap in {', '.join(undetectable)} can be detected"] if undetectable else []
    return (
        f"power: with {board.power.num_retrained} retrained models, {'; '.join(parts)}; smaller gaps may go "
        "undetected, and more seeds do not change this"
    )
