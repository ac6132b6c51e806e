"""The leaderboard as a terminal table and as Markdown."""

import math
from typing import Any

from rich import box
from rich.table import Table

from raybench.report.anchor import Column
from raybench.report.leaderboard import Cell, Leaderboard, Row
from raybench.report.populations import Populations
from raybench.report.printed_text import Beside
from raybench.report.table import markdown_table

NOTHING = "-"
WIDE = 148  # columns of a terminal that intervals fit into; a narrower one gets them in the report only


def _number(cell: Cell | None, column: Column, *, interval: bool = True) -> str:
    if cell is None or math.isnan(cell.value):
        return NOTHING
    scale, digits = column.scale
    spread = "" if math.isnan(cell.half) or not interval else f" ±{scale * cell.half:.{digits}f}"
    return f"{scale * cell.value:.{digits}f}{spread}{'*' if cell.outside else ''}"


def _gap(row: Row, *, interval: bool = True) -> str:
    if math.isnan(row.gap.value):
        return NOTHING
    return f"{row.gap.value:.1f}" + ("" if math.isnan(row.gap.half) or not interval else f" ±{row.gap.half:.1f}")


def _signed(cell: Cell | None, column: Column) -> str:
    if cell is None or math.isnan(cell.gap):
        return NOTHING
    scale, digits = column.scale
    interval = (
        ""
        if math.isnan(cell.gap_low)
        else f" [{scale * cell.gap_low:+.{digits}f}, {scale * cell.gap_high:+.{digits}f}]"
    )
    return f"{scale * cell.gap:+.{digits}f}{interval}"


def _label(row: Row) -> str:
    if row.rank is None:
        return row.name
    open_ranks = row.rank_low is not None and row.rank_low != row.rank_high
    return f"{f'{row.rank_low}-{row.rank_high}' if open_ranks else row.rank} {row.name}"


def _cost(row: Row) -> str:
    return (
        NOTHING if row.cost is None else f"{100 * row.cost:.0f} %" if row.cost >= 0.095 else f"{100 * row.cost:.1f} %"
    )


def as_rich(board: Leaderboard, *, width: int) -> Table:
    """Return the table for a terminal of the given width."""
    wide, columns, legend = width >= WIDE, board.anchor.columns, board.anchor.legend
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=legend, caption_justify="left", caption_style="dim")
    table.add_column("", overflow="fold", min_width=12)
    for title in (*(column.title for column in columns), "gap", "cost"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in board.rows:
        numbers = [_number(row.cells.get(column.title), column, interval=wide) for column in columns]
        table.add_row(_label(row), *numbers, _gap(row, interval=wide), _cost(row))
    return table


def plain_table(head: list[str], rows: list[list[str]]) -> Table:
    """Return texts as a table for the terminal; a long cell is wrapped, never cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, title in enumerate(head):
        table.add_column(title, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def as_markdown(
    board: Leaderboard,
    name: str,
    manifest: dict[str, Any],
    compared: Populations | None = None,
    printed: Beside | None = None,
) -> str:
    """Return the report: the ranked table, the signed gaps with intervals, the verdict, and what it was made with."""
    columns, metric = board.anchor.columns, {"cr": "CR", "memory_gap": "MG"}
    head = ["", *(column.title for column in columns), "gap", "cost"]
    values = [
        [_label(row), *(_number(row.cells.get(c.title), c) for c in columns), _gap(row), _cost(row)]
        for row in board.rows
    ]
    gaps = [
        [_label(row), *(_signed(row.cells.get(c.title), c) for c in columns)]
        for row in board.rows
        if row.kind != "retrained"
    ]
    per_alpha = next(metric[column.metric] for column in columns if column.metric in metric)
    notes = [f"- {row.name}: {row.note}" for row in board.rows if row.note]
    packages = ", ".join(f"{key} {value}" for key, value in manifest["packages"].items())
    sections = [
        f"# {name}",
        markdown_table(head, values),
        board.anchor.legend + (f" {per_alpha} at {board.alpha}." if board.alpha else ""),
        "## Verdict",
        "\n".join(f"- {line}" for line in board.verdict),
        f"## {board.anchor.gaps_title}",
        markdown_table(["", *(column.title for column in columns)], gaps),
        *(["## Populations", compared.markdown()] if compared else []),
        *(["## Beside the printed numbers", printed.markdown()] if printed else []),
        *(["## Notes", "\n".join(notes)] if notes else []),
        "## Made with",
        f"raybench {manifest['raybench']}, commit {manifest['git_commit']}, {packages}, "
        f"on {manifest['host']['system']} ({manifest['host']['cpus']} CPUs, {len(manifest['host']['gpus'])} GPUs), "
        f"{manifest['started']}.",
        "```yaml\n" + manifest["experiment"].rstrip() + "\n```",
    ]
    return "\n\n".join(sections) + "\n"
