"""The results of a run or an audit as HTML for a notebook, readable on a light and on a dark page."""

from collections.abc import Sequence
from html import escape

from rich.table import Table

# of middling lightness: both a white and a dark gray ground leave a contrast of 4 or more
COLORS = {"forgotten": "#1a8f5c", "remembers": "#e0445a", "no difference": "#3d82e0"}
CELL = "text-align:{}; padding:.2em .7em; vertical-align:top; white-space:nowrap"


def results_html(title: str, table: Table, sentences: Sequence[str]) -> str:
    """Return the title, the leaderboard and the sentences of the verdict; every text is escaped."""
    columns = table.columns
    head = "".join(_cell('th scope="col"', column.justify, str(column.header)) for column in columns)
    rows = []
    for cells in zip(*(column.cells for column in columns)):
        tags = ['th scope="row"', *["td"] * (len(columns) - 1)]
        parts = (_cell(tag, column.justify, str(cell)) for tag, column, cell in zip(tags, columns, cells))
        rows.append(f"<tr>{''.join(parts)}</tr>")
    items = "".join(f"<li>{escape(line)}</li>" for line in sentences)
    return (
        f'<div><p><strong>{escape(title)}</strong></p>\n<div style="overflow-x:auto"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{''.join(rows)}</tbody></table></div>\n<ul>{items}</ul></div>"
    )


def message_html(title: str, message: str) -> str:
    """Return what is shown of results that have no leaderboard yet."""
    return f"<div><p><strong>{escape(title)}</strong></p>\n<p>{escape(message)}</p></div>"


def _cell(tag: str, align: str, text: str) -> str:
    style = CELL.format(align)
    if text in COLORS:
        style += f"; font-weight:600; color:{COLORS[text]}"
    return f'<{tag} style="{style}">{escape(text)}</{tag.split()[0]}>'
