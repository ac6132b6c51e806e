"""Read sample or group ids from a list in the experiment or from a file."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.data.forget_rules.framework.amount import require_exactly_one
from raybench.errors import UserError


def listed_ids(rule: str, ids: Sequence[int] | None, file: str | Path | None) -> np.ndarray:
    """Return the ids of a list or of a file, sorted int64; warn about duplicates and drop them."""
    require_exactly_one(rule, ids=ids, file=file)
    listed = whole_numbers(ids, "ids") if ids is not None else read_ids(rule, Path(str(file)).expanduser())
    unique = np.unique(listed)
    if len(unique) < len(listed):
        warnings.warn(f"forget rule {rule!r}: {len(listed) - len(unique)} ids are listed more than once", stacklevel=3)
    return unique


def read_ids(rule: str, path: Path) -> np.ndarray:
    """Read ids from a text, CSV or Parquet file, in file order."""
    if not path.is_file():
        raise UserError(
            f"forget rule {rule!r}: no file {str(path)!r} (one id per line, or CSV or Parquet with column id)"
        )
    if path.suffix == ".parquet":
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path}: not a readable Parquet file: {error}") from error
        if "id" not in table.column_names:
            raise UserError(f"{path}: no column 'id' (columns: {', '.join(table.column_names)})")
        return whole_numbers(table.column("id").to_pylist(), str(path))
    try:
        rows = [
            row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if any(map(str.strip, row))
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: neither text nor CSV: {error}") from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    if "id" in header:
        column, rows = header.index("id"), rows[1:]
    elif len(header) <= 1:
        column = 0
    else:
        raise UserError(f"{path}: no column 'id' (first line: {', '.join(header)})")
    short = next((row for row in rows if len(row) <= column), None)
    if short is not None:
        raise UserError(f"{path}: line {','.join(short)!r} has no column 'id'")
    return whole_numbers([row[column] for row in rows], str(path))


def whole_numbers(values: Sequence[object], where: str) -> np.ndarray:
    """Convert ids to int64; raise UserError that names the first value that is not a whole number."""
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise UserError(f"{where}: expected a list of sample ids, found {values!r}")
    numbers = []
    for position, value in enumerate(values, start=1):
        text = str(value).strip()
        if isinstance(value, bool) or not text.removeprefix("-").isdecimal() or len(text) > 18:
            raise UserError(f"{where}: value {position} is {value!r}, not a sample id (a whole number)")
        numbers.append(int(text))
    return np.array(numbers, dtype=np.int64)
