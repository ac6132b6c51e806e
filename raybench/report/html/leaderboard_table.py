"""The first table of the page: one line per method with its verdict, residual memory, utility and cost."""

import math
import re
from collections.abc import Mapping, Sequence
from html import escape

from raybench.report.cell_text import cost_text, mean_gap_text, signed_gap_text, value_text
from raybench.report.comparison import Column
from raybench.report.conclusion import FAILED, FORGOTTEN, NO_DIFFERENCE, WITHHELD, memory_text, percent
from raybench.report.leaderboard import Leaderboard, Row

WORDS = {"forgotten": "forgotten", "no difference": "no difference found", "withheld": "no verdict"}
MEANINGS = {
    "UA": "unlearning accuracy, 1 - accuracy on forget samples",
    "RA": "retain accuracy",
    "TA": "test accuracy",
    "FA-TA": "accuracy on forget minus test samples",
    "MIA AUC": "membership inference attack, 0.5 = chance",
    "MG": "memory gap, conformal coverage of forget minus test samples",
    "CR_f": "conformal ratio on forget samples",
    "k-NN_f": "k-nearest-neighbor accuracy on forget samples",
    "CKA_f": "similarity of features to retrained models (centered kernel alignment) on forget samples",
}


def headline_table(board: Leaderboard, settings: Mapping[str, str]) -> str:
    """Return the sortable table; `settings`: the chosen hyperparameters of each method, in words."""
    columns = [column for column in board.columns if column.about == "utility"]
    has_memory = any(not math.isnan(row.memory.value) for row in board.rows)
    head = [
        ("method", "text"),
        ("verdict", "text"),
        *([("memory left", "number")] if has_memory else []),
        *((f"{column.title}, %", "number") for column in columns),
        ("cost", "number"),
        ("gap", "number"),
        ("rank", "number"),
    ]
    lines = []
    for row in board.rows:
        word = row.conclusion or ""
        cells = [
            name_cell(row.name),
            verdict_cell(row, board, settings.get(row.name)),
            *([number_cell(row.memory.value, memory_text(row.memory))] if has_memory else []),
            *(
                number_cell(row.cells[column.title].value, value_text(row.cells[column.title], column))
                for column in columns
            ),
            number_cell(row.relative_cost, cost_text(row.relative_cost)),
            number_cell(row.gap.value, mean_gap_text(row)),
            number_cell(row.rank, rank_text(row)),
        ]
        lines.append(f'<tr data-verdict="{escape(word)}" data-name="{escape(row.name.lower())}">{"".join(cells)}</tr>')
    memory = "memory left: 0 % as retrained, 100 % as the original. " if has_memory else ""
    reference = _reference(board)
    legend = f"{memory}{meanings(columns)}; gap: mean distance to {reference}, in points; *: differs from {reference}."
    return f'<p class="legend">{escape(legend)}</p>\n{sortable("leaderboard", "Methods, by rank", head, lines)}'


def meanings(columns: Sequence[Column]) -> str:
    """Return the titles of columns, written out."""
    return "; ".join(f"{column.title}: {MEANINGS[column.title]}" for column in columns)


def _reference(board: Leaderboard) -> str:
    if board.num_retrained == 0:
        return "the ideals"
    return "the retrained models" if board.num_retrained > 1 else "the retrained model"


def column_table(board: Leaderboard) -> str:
    """Return the sortable table of every metric column."""
    columns = board.columns
    head = [("method", "text"), *((column.title, "number") for column in columns)]
    lines = []
    for row in board.rows:
        cells = [
            number_cell(row.cells[c.title].value, value_text(row.cells[c.title], c), row.cells[c.title].reason)
            for c in columns
        ]
        lines.append(f"<tr>{name_cell(row.name)}{''.join(cells)}</tr>")
    return sortable("columns", "Every metric of the leaderboard", head, lines)


def gap_table(board: Leaderboard) -> str:
    """Return the sortable table of signed gaps with the intervals of the figure."""
    columns = [column for column in board.columns if column.reference is not None]
    head = [("method", "text"), *((column.title, "number") for column in columns)]
    lines = []
    for row in board.rows:
        if row.kind != "retrained":
            cells = [
                number_cell(row.cells[c.title].gap * c.scale[0], signed_gap_text(row.cells[c.title], c))
                for c in columns
            ]
            lines.append(f"<tr>{name_cell(row.name)}{''.join(cells)}</tr>")
    return sortable("gap-table", "Signed gaps, in points or in the unit of the metric", head, lines)


def sortable(key: str, caption: str, head: Sequence[tuple[str, str]], lines: Sequence[str]) -> str:
    """Return a table whose columns sort by a click on their head; `head`: titles and `text` or `number`."""
    titles = "".join(f'<th scope="col" data-type="{kind}">{escape(title)}</th>' for title, kind in head)
    body = "\n".join(lines)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">\n'
        f'<table id="{key}" class="sortable"><caption>{escape(caption)}</caption>\n<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def name_cell(name: str) -> str:
    """Return the head of a line; a long name may wrap after an underscore or a dot."""
    shown = re.sub("([_.])", r"\1<wbr>", escape(name))
    return f'<th scope="row" data-value="{escape(name)}">{shown}</th>'


def rank_text(row: Row) -> str:
    """Return the rank, and the range of ranks that is not ruled out."""
    if row.rank is None:
        return "-"
    has_range = row.rank_low is not None and row.rank_low != row.rank_high
    return f"{row.rank} [{row.rank_low}-{row.rank_high}]" if has_range else str(row.rank)


def number_cell(value: float | None, text: str, reason: str | None = None) -> str:
    """Return a cell that sorts by its value; `reason`: why there is none, shown on hover."""
    known = value is not None and not math.isnan(value)
    order = f' data-value="{value:.9g}"' if known else ""
    title = f' title="{escape(reason)}"' if reason else ""
    return f"<td{order}{title}>{escape(text)}</td>"


def verdict_cell(row: Row, board: Leaderboard, setting: str | None) -> str:
    """Return the cell with the verdict in one line and details on demand; `setting`: hyperparameters in words."""
    return f'<td class="verdict" data-value="{escape(row.conclusion or "")}">{_verdict(row, board, setting)}</td>'


def _verdict(row: Row, board: Leaderboard, setting: str | None) -> str:
    """Return the verdict of a method in one line, and what else is known on demand."""
    if row.kind != "unlearned":
        return (
            "reference: the model to forget from" if row.kind == "original" else "reference: never saw the forget set"
        )
    word = row.conclusion or ""
    chip = f'<span class="chip {word.replace(" ", "-")}">{escape(WORDS.get(word, word))}</span>'
    more = [(name, ", ".join(titles)) for name, titles in row.findings.by_phrase(board.comparison).items()]
    if row.memory.denied_low > 0:
        more.append((board.comparison.over_forgot, f"denies {100 * row.memory.denied:.0f} % of the forget samples"))
    if row.no_better_than_original:
        more.append((board.comparison.no_better, row.advice or ""))
    if row.relative_cost is not None and row.relative_cost > 1:
        more.append(("cost", "more than one retraining, which is exact"))
    if setting:
        more.append(("settings", setting))
    if row.status_reason and not row.failed:
        more.append(("status", row.status_reason))
    line = f"{chip} {escape(_sentence(row, word)).replace(' %', '&nbsp;%')}"
    if not more:
        return line
    items = "".join(f"<div><dt>{escape(name)}:</dt> <dd>{escape(content)}</dd></div>" for name, content in more)
    return f"{line}<details><summary>details</summary><dl>{items}</dl></details>"


def _sentence(row: Row, word: str) -> str:
    """Return what the verdict rests on, beside the column of residual memory."""
    if word == FAILED:
        return row.status_reason or "no trial finished"
    if word == WITHHELD:
        return row.memory.reason or ""
    if word == FORGOTTEN:
        return f"at most {percent(row.memory.high)} % left"
    if word == NO_DIFFERENCE:
        return f"could miss up to {percent(row.memory.high)} %"
    if row.memory.low > 0:
        return f"at least {percent(row.memory.low)} % left"
    return f"in {', '.join(row.findings.remembers)}"
