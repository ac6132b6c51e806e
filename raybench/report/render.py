"""Render the leaderboard as a terminal table and as Markdown."""

import math
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from raybench.report.comparison import MEMORY_LEGEND, PER_ALPHA, Column
from raybench.report.conclusion import memory_text
from raybench.report.leaderboard import Cell, Leaderboard, Row
from raybench.report.table import escape, markdown_table
from raybench.report.verdict import details, verdict
from raybench.report.versions import code_versions

NOTHING = "-"
MIN_WIDTH_WITH_INTERVALS = 124  # narrower terminals show the intervals of the columns only in the report


def as_rich(board: Leaderboard, *, width: int) -> Table:
    """Return the leaderboard as a table for a terminal of the given width."""
    wide, columns = width >= MIN_WIDTH_WITH_INTERVALS, board.comparison.main_columns
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption=Text("\n".join([MEMORY_LEGEND, *board.comparison.main_legend])),
        caption_justify="left",
    )
    table.caption_style = "dim"
    table.add_column("", overflow="fold", min_width=12)
    for title in ("memory left", "verdict", *(column.title for column in columns), "gap", "cost"):
        table.add_column(title, justify="left" if title == "verdict" else "right", no_wrap=True)
    for row in board.rows:
        values = [_value(row.cells[column.title], column, interval=wide) for column in columns]
        head = (_label(row), memory_text(row.memory), row.conclusion or "")
        table.add_row(*head, *values, _mean_gap(row, interval=wide), _cost(row))
    return table


def plain_table(head: list[str], rows: list[list[str]]) -> Table:
    """Return a table of texts for the terminal; long cells wrap."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, title in enumerate(head):
        table.add_column(title, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def as_markdown(
    board: Leaderboard,
    name: str,
    manifest: Mapping[str, Any],
    sections: Mapping[str, str] | None = None,
) -> str:
    """Return `report.md`: leaderboard, verdict, signed gaps, `sections` (text by title), notes, environment."""
    columns = board.comparison.columns
    head = ["", "memory left", "verdict", *(column.title for column in columns), "gap", "cost"]
    values = [
        [
            _label(row),
            memory_text(row.memory),
            row.conclusion or "",
            *(_value(row.cells[c.title], c) for c in columns),
            _mean_gap(row),
            _cost(row),
        ]
        for row in board.rows
    ]
    gaps = [
        [_label(row), *(_signed_gap(row.cells[c.title], c) for c in columns)]
        for row in board.rows
        if row.kind != "retrained"
    ]
    legend = [MEMORY_LEGEND, *board.comparison.legend]
    if board.alpha:
        legend.append(f"{next(PER_ALPHA[c.metric] for c in columns if c.metric in PER_ALPHA)} at {board.alpha}.")
    notes = [f"- {escape(f'{row.name}: {text}')}" for row in board.rows if (text := _note(row, board))]
    packages = ", ".join(f"{key} {value}" for key, value in manifest["packages"].items())
    parts = [
        f"# {name}",
        markdown_table(head, values),
        " ".join(legend),
        "## Verdict",
        "\n".join(f"- {line}" for line in [*verdict(board), *details(board)]),
        f"## {board.comparison.gaps_title}",
        markdown_table(["", *(column.title for column in columns)], gaps),
        *(part for title, text in (sections or {}).items() for part in (f"## {title}", text)),
        *(["## Notes", "\n".join(notes)] if notes else []),
        "## Environment",
        f"{code_versions(manifest)}, {packages}, "
        f"on {manifest['host']['system']} ({manifest['host']['cpus']} CPUs, {len(manifest['host']['gpus'])} GPUs), "
        f"{manifest['started']}.",
        "```yaml\n" + manifest["experiment"].rstrip() + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _value(cell: Cell, column: Column, *, interval: bool = True) -> str:
    if math.isnan(cell.value):
        return NOTHING
    scale, digits = column.scale
    half_width = "" if math.isnan(cell.half_width) or not interval else f" ±{scale * cell.half_width:.{digits}f}"
    return f"{scale * cell.value:.{digits}f}{half_width}{'*' if cell.distinguishable else ''}"


def _mean_gap(row: Row, *, interval: bool = True) -> str:
    if math.isnan(row.gap.value):
        return NOTHING
    half_width = "" if math.isnan(row.gap.half_width) or not interval else f" ±{row.gap.half_width:.1f}"
    return f"{row.gap.value:.1f}{half_width}"


def _signed_gap(cell: Cell, column: Column) -> str:
    if math.isnan(cell.gap):
        return NOTHING
    scale, digits = column.scale
    if math.isnan(cell.gap_low):
        return f"{scale * cell.gap:+.{digits}f}"
    return f"{scale * cell.gap:+.{digits}f} [{scale * cell.gap_low:+.{digits}f}, {scale * cell.gap_high:+.{digits}f}]"


def _label(row: Row) -> str:
    if row.rank is None:
        return row.name
    has_range = row.rank_low is not None and row.rank_low != row.rank_high
    return f"{f'{row.rank_low}-{row.rank_high}' if has_range else row.rank} {row.name}"


def _cost(row: Row) -> str:
    if row.relative_cost is None:
        return NOTHING
    return f"{100 * row.relative_cost:.{0 if row.relative_cost >= 0.095 else 1}f} %"


def _note(row: Row, board: Leaderboard) -> str:
    """Return the remark on a row: why it failed or stopped early, and why it is no better than the original."""
    reason = f"failed: {row.status_reason}" if row.failed else row.status_reason
    no_better = board.comparison.no_better if row.no_better_than_original else None
    return ". ".join(part.removesuffix(".") for part in (no_better, reason, row.advice) if part)
