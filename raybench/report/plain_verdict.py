"""The verdict on one method in plain sentences, for a reader who knows no statistics."""

import math
from typing import Any

from raybench.errors import UserError
from raybench.report.conclusion import FORGOTTEN, REMEMBERS, percent
from raybench.report.leaderboard import MEMORY, Leaderboard, Row

OF = "of what the original model knew about the samples to forget"


def verdict_of(board: Leaderboard, method: str) -> dict[str, Any]:
    """Return the verdict on a method as plain values: the word, sentences that come first, the sentence, the numbers.

    Raises UserError for a method that failed, and where no verdict is given.
    """
    row = next((row for row in board.rows if row.kind == "unlearned" and row.name == method), None)
    if row is None:
        raise UserError(f"method {method!r} is not in the leaderboard of the run")
    if row.failed:
        raise UserError(f"method {method!r} failed, so there is nothing to certify: {row.status_reason}")
    if board.withheld is not None or row.memory.reason is not None:
        reason = board.withheld or row.memory.reason
        raise UserError(f"method {method!r} has no verdict, so nothing can be certified: {reason}")
    return {
        "word": row.conclusion,
        "first": said_first(board, row),
        "sentence": sentence(row),
        "damage": _damage(board, row),
        "memory": {name: _plain(getattr(row.memory, name)) for name in MEMORY},
        "margin": board.margin,
        "gap": _plain(row.gap.value),
        "gap_of_original": _plain(board.original.gap.value),
        "relative_cost": _plain(row.relative_cost),
    }


def sentence(row: Row) -> str:
    """Return the verdict on a method that has one, as a sentence."""
    memory = row.memory
    if row.conclusion == FORGOTTEN:
        return f"Forgotten, as far as this audit can tell: at most {percent(memory.high)} % {OF} is left."
    if row.conclusion == REMEMBERS and memory.low > 0:
        return (
            f"NOT forgotten: the model still remembers at least {percent(memory.low)} % {OF} (about "
            f"{percent(memory.value)} %, at most {percent(memory.high)} %)."
        )
    if row.conclusion == REMEMBERS:
        columns = ", ".join(row.findings.remembers)
        return f"NOT forgotten: {columns} still distinguish the model from models that never saw the samples."
    return (
        f"NOT shown to be forgotten: no difference from retrained models was found, but up to {percent(memory.high)} % "
        f"{OF} could be left without being noticed."
    )


def said_first(board: Leaderboard, row: Row) -> list[str]:
    """Return what must be said before the verdict: that the method did no better than doing nothing."""
    own, original = row.gap.value, board.original.gap.value
    if math.isnan(own) or math.isnan(original):
        return []
    numbers = (
        f"its mean distance to the models that never saw the samples is {own:.1f} points, that of the original model, "
        f"to which nothing was done, {original:.1f}"
    )
    if own > original:
        return [f"WORSE THAN DOING NOTHING: {numbers}."]
    if row.no_better_than_original:
        return [f"NO BETTER THAN DOING NOTHING: {numbers}, and chance alone explains the difference."]
    return []


def _damage(board: Leaderboard, row: Row) -> list[str]:
    """Return what the method damaged: utility, and forget samples that it denies."""
    lines = []
    if row.findings.lost_utility:
        columns = {column.title: column for column in board.comparison.columns}
        sizes = []
        for title in row.findings.lost_utility:
            (factor, digits), gap = columns[title].scale, row.cells[title].gap
            sizes.append(f"{title} {factor * gap:+.{digits}f}")
        lines.append(f"The method damaged the model: {', '.join(sizes)} against the reference (points).")
    if row.findings.over_forgot or row.memory.denied_low > 0:
        denied = f"it denies {percent(row.memory.denied)} % of the forgotten samples" * (row.memory.denied_low > 0)
        parts = [*row.findings.over_forgot, *([denied] if denied else [])]
        lines.append(
            "The method forgot more than retraining does, which can itself reveal the samples: "
            + ", ".join(parts)
            + "."
        )
    return lines


def _plain(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
