"""The conclusions of the leaderboard as sentences: findings per method, the control, ranks and power."""

from collections.abc import Sequence

from raybench.report.comparison import missing_references
from raybench.report.leaderboard import Leaderboard
from raybench.report.ranking import measured_titles


def verdict(board: Leaderboard) -> list[str]:
    """Return all lines that follow the table."""
    lines = [*_methods(board), control(board)]
    if len(board.ranked) > 1:
        lines += [_ranks(board), *_best_two(board), *_pareto_front(board)]
    return [*lines, *limits_of_power(board)]


def validity(board: Leaderboard) -> list[str]:
    """Return the lines on what the comparison can detect at all: control, power, missing references."""
    return [control(board), *limits_of_power(board)]


def control(board: Leaderboard) -> str:
    """Return whether the evaluation detects that the original remembers; without that, no finding means nothing."""
    titles, pair = board.original.findings.remembers, board.comparison.control
    if not titles:
        return f"control: NO column separates {pair}, so this evaluation cannot detect forgetting"
    return f"control: {', '.join(titles)} {_separate(titles)} {pair}"


def _separate(titles: Sequence[str]) -> str:
    return "separates" if len(titles) == 1 else "separate"


def limits_of_power(board: Leaderboard) -> list[str]:
    """Return the lines on detectable gaps and on missing references."""
    return [line for line in (_power(board), missing_references(board.num_retrained, board.retraining)) if line]


def _methods(board: Leaderboard) -> list[str]:
    comparison = board.comparison
    groups: dict[str, list[str]] = {comparison.passes: [row.name for row in board.rows if row.passes]}
    for row in board.rows:
        if row.kind == "unlearned":
            for phrase, titles in row.findings.by_phrase(comparison).items():
                groups.setdefault(phrase, []).append(f"{row.name} ({', '.join(titles)})")
    order = (
        comparison.passes,
        comparison.not_measured,
        comparison.remembers,
        comparison.over_forgot,
        comparison.lost_utility,
        comparison.features_differ,
    )
    lines = [f"{phrase}: {', '.join(groups[phrase]) or 'none'}" for phrase in order if phrase in groups]
    if names := [row.name for row in board.rows if row.no_better_than_original]:
        lines.append(f"{comparison.no_better}: {', '.join(names)} (see the notes in report.md)")
    return lines


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
