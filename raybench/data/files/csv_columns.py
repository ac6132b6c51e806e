"""Read a CSV file whose columns have several accepted names."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from raybench.data.files.text import read_text
from raybench.errors import UserError


def read_csv(path: Path) -> dict[str, list[str]]:
    """Return {column: its stripped cells}; raise UserError with file and line.

    All rows must have the same length, and all columns different names.
    """
    try:
        reader = csv.reader(read_text(path, "CSV").splitlines())
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as CSV: {error}") from error
    rows = [(line, row) for line, row in rows if any(row)]
    if len(rows) < 2:
        raise UserError(f"{path}: expected a line of column names and at least one row")
    header = rows[0][1]
    if doubled := [name for name, count in Counter(header).items() if count > 1]:
        raise UserError(f"{path}: the column {doubled[0]!r} is there more than once; rename or remove one")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: {len(row)} cells, but {len(header)} columns: {', '.join(header)}")
    return {name: [row[i] for _, row in rows[1:]] for i, name in enumerate(header)}


def find_column(columns: dict[str, list[str]], spellings: Sequence[str]) -> list[str] | None:
    """Return the cells of the first of `spellings` that is a column, ignoring case, or None."""
    by_name = {name.lower(): cells for name, cells in columns.items()}
    return next((by_name[name] for name in spellings if name in by_name), None)


def need_column(columns: dict[str, list[str]], spellings: Sequence[str], *, path: Path) -> list[str]:
    """Return the cells as `find_column` does; raise UserError that lists the columns if there is none."""
    cells = find_column(columns, spellings)
    if cells is None:
        raise UserError(f"{path}: needs a column {' or '.join(spellings)} (columns: {', '.join(columns)})")
    return cells
