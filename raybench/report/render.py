"""Render the leaderboard as a terminal table and as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raybench.report.cell_text import cost_text, mean_gap_text, signed_gap_text, value_text
from raybench.report.comparison import MEMORY_LEGEND, ON_FORGET, PER_ALPHA
from raybench.report.conclusion import memory_text
from raybench.report.leaderboard import Leaderboard, Row
from raybench.report.table import escape, markdown_table
from raybench.report.verdict import details, verdict
from raybench.report.versions import code_versions

DROPPED = ("RA", "MIA AUC", "FA-TA", "TA", "UA", "cost")  # in this order, where the terminal is narrow
UNLIMITED = 10_000


def as_rich(board: Leaderboard, *, width: int) -> Table:
    """Return the leaderboard as a table for a terminal of the given width.

    A narrow terminal first loses the intervals of the columns, then columns (`DROPPED`); the report has all. Columns
    without a value are left out at any width.
    """
    columns = [column.title for column in board.comparison.main_columns if column in board.columns]
    layouts = list(_layouts([*columns, "gap", *(["cost"] if has_cost(board) else [])]))
    measure = Console(width=UNLIMITED)
    tables = (_table(board, titles, interval=interval) for titles, interval in layouts)
    fitting = (number for number, table in enumerate(tables) if measure.measure(table).maximum <= width)
    titles, interval = layouts[next(fitting, len(layouts) - 1)]
    table = _table(board, titles, interval=interval)
    legend = [MEMORY_LEGEND] if has_memory(board) else []
    legend += board.comparison.legend_of(titles, interval=interval)
    hidden = [column.title for column in board.columns if column.title not in titles]
    hidden = [f"{title} ({ON_FORGET[title].partition(' (')[0]})" if title in ON_FORGET else title for title in hidden]
    if not interval:
        hidden.append("the intervals")
    if hidden:
        legend.append(f"In the report: {', '.join(hidden)}.")
    table.caption = Text("\n".join(legend))
    return table


def _layouts(titles: list[str]) -> Iterator[tuple[list[str], bool]]:
    """Yield column titles, and whether they have intervals, from the widest table to the narrowest."""
    yield titles, True
    yield titles, False
    for dropped in DROPPED:
        if dropped in titles:
            titles = [title for title in titles if title != dropped]
            yield titles, False


def _table(board: Leaderboard, titles: Sequence[str], *, interval: bool) -> Table:
    columns = {column.title: column for column in board.comparison.columns}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    table.caption_style = "dim"
    table.add_column("", overflow="fold", min_width=12)
    memory = has_memory(board)
    for title in (*(["memory left"] if memory else []), "verdict", *titles):
        table.add_column(title, justify="left" if title == "verdict" else "right", no_wrap=True)
    for row in board.rows:
        texts = {
            "gap": mean_gap_text(row, interval=interval),
            "cost": cost_text(row.relative_cost),
            **{t: value_text(row.cells[t], columns[t], interval=interval) for t in titles if t in columns},
        }
        head = [_label(row), *([memory_text(row.memory)] if memory else []), row.conclusion or ""]
        table.add_row(*head, *(texts[title] for title in titles))
    return table


def has_cost(board: Leaderboard) -> bool:
    """Return whether the cost of any row is known."""
    return any(row.relative_cost is not None for row in board.rows)


def has_memory(board: Leaderboard) -> bool:
    """Return whether any row has a residual memory."""
    return any(row.memory.value == row.memory.value for row in board.rows)


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
    columns, memory = board.columns, has_memory(board)
    cost = has_cost(board)
    head = ["", *(["memory left"] if memory else []), "verdict", *(c.title for c in columns), "gap"]
    head += ["cost"] if cost else []
    values = [
        [
            _label(row),
            *([memory_text(row.memory)] if memory else []),
            row.conclusion or "",
            *(value_text(row.cells[c.title], c) for c in columns),
            mean_gap_text(row),
            *([cost_text(row.relative_cost)] if cost else []),
        ]
        for row in board.rows
    ]
    gaps = [
        [_label(row), *(signed_gap_text(row.cells[c.title], c) for c in columns)]
        for row in board.rows
        if row.kind != "retrained"
    ]
    legend = [*([MEMORY_LEGEND] if memory else []), *board.comparison.legend_of([c.title for c in columns])]
    if board.alpha and any(column.metric in PER_ALPHA for column in columns):
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


def _label(row: Row) -> str:
    if row.rank is None:
        return row.name
    has_range = row.rank_low is not None and row.rank_low != row.rank_high
    return f"{f'{row.rank_low}-{row.rank_high}' if has_range else row.rank} {row.name}"


def _note(row: Row, board: Leaderboard) -> str:
    """Return the remark on a row: why it failed or stopped early, and why it is no better than the original."""
    reason = f"failed: {row.status_reason}" if row.failed else row.status_reason
    no_better = board.comparison.no_better if row.no_better_than_original else None
    return ". ".join(part.removesuffix(".") for part in (no_better, reason, row.advice) if part)
