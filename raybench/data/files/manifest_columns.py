"""What the columns of a manifest mean: class ids, multi-label targets, identities and parts; errors name the row.

Rows are counted from 1; the line of column names of a CSV is not counted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from raybench.data.files.folders import shown
from raybench.data.images import TEST, TRAIN, UNSEEN
from raybench.errors import UserError, unknown

PARTS = {
    "train": TRAIN,
    "training": TRAIN,
    "test": TEST,
    "val": TEST,
    "valid": TEST,
    "validation": TEST,
    "unseen": UNSEEN,
}
BINARY = {"0": 0, "1": 1, "false": 0, "true": 1}


def class_ids(
    values: Sequence[Any], *, where: str, names: Sequence[str] | None = None, count: int | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Turn a column of labels into class ids, (N,) int64, and the names of the classes.

    Whole numbers are ids as they are: they run from 0 without gaps, unless `names` or `count` says how many classes
    there are. Texts get ids in their sorted order, or in that of `names`.
    """
    refuse_empty(values, where)
    numbers = [whole(value) for value in values]
    if all(number is not None for number in numbers):
        return of_numbers(np.array(numbers, dtype=np.int64), where, names, count)
    for row, (value, number) in enumerate(zip(values, numbers), start=1):
        if number is None and not isinstance(value, str):
            raise UserError(f"{where}: row {row} is {value!r}; labels are whole numbers or texts")
    if all(is_number(value) for value in values):
        row = next(i for i, number in enumerate(numbers) if number is None)
        raise UserError(f"{where}: row {row + 1} is {values[row]!r}; labels are whole numbers or texts")
    if count is not None:
        raise UserError(f"{where}: the labels are texts, so `classes` should list their names; found {count}")
    texts = [str(value) for value in values]
    ordered = tuple(sorted(set(texts)) if names is None else names)
    place = {name: i for i, name in enumerate(ordered)}
    for row, text in enumerate(texts, start=1):
        if text not in place:
            raise unknown(f"class in {where}, row {row}:", text, ordered)
    return np.array([place[text] for text in texts], dtype=np.int64), ordered


def of_numbers(
    ids: np.ndarray, where: str, names: Sequence[str] | None, count: int | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Check ids that are numbers, and name them."""
    if names is None and count is None:
        count = int(ids.max()) + 1
        present = set(ids[ids >= 0].tolist())
        if len(present) < count:
            absent = next(i for i in range(count) if i not in present)
            raise UserError(
                f"{where}: labels run from {ids.min()} to {ids.max()}, but no row has {absent}: number them from 0, or "
                "say with option `classes` how many classes there are (a number, or the list of their names)"
            )
    known = tuple(names) if names is not None else tuple(str(i) for i in range(count or 0))
    wrong = np.flatnonzero((ids < 0) | (ids >= len(known)))
    if len(wrong):
        raise UserError(f"{where}: row {wrong[0] + 1} is {ids[wrong[0]]}, but there are classes 0 to {len(known) - 1}")
    return ids, known


def binary(values: Sequence[Any], *, where: str) -> np.ndarray:
    """Turn one column of a multi-label task into 0 and 1, (N,) uint8."""
    refuse_empty(values, where)
    for row, value in enumerate(values, start=1):
        if str(value).lower() not in BINARY:
            raise UserError(f"{where}: row {row} is {value!r}; a label of several is 0 or 1 (or true, false)")
    return np.array([BINARY[str(value).lower()] for value in values], dtype=np.uint8)


def group_ids(values: Sequence[Any], *, where: str) -> np.ndarray:
    """Turn a column of identities into (N,) int64: whole numbers as they are, anything else by its sorted order."""
    refuse_empty(values, where)
    numbers = [whole(value) for value in values]
    if all(number is not None for number in numbers):
        return np.array(numbers, dtype=np.int64)
    return np.unique([str(value) for value in values], return_inverse=True)[1].astype(np.int64)


def parts(values: Sequence[Any], *, where: str) -> np.ndarray:
    """Turn a column of splits into parts, (N,) uint8; validation counts as test, whatever its case."""
    refuse_empty(values, where)
    for row, value in enumerate(values, start=1):
        if str(value).lower() not in PARTS:
            raise unknown(f"split in {where}, row {row}:", value, PARTS)
    found = np.array([PARTS[str(value).lower()] for value in values], dtype=np.uint8)
    if not (found == TRAIN).any():
        raise UserError(f"{where}: no row is train; the models need a training part")
    return found


def refuse_empty(values: Sequence[Any], where: str) -> None:
    """Raise UserError for cells that hold nothing, with the numbers of their rows."""
    if empty := [str(row) for row, value in enumerate(values, start=1) if value is None or value == ""]:
        raise UserError(f"{where}: {len(empty)} cells are empty, in rows {shown(empty)}")


def whole(value: Any) -> int | None:
    """Return a whole number, or a text that is one, as int."""
    if isinstance(value, int | np.integer):
        return int(value)
    text = value if isinstance(value, str) else ""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else None


def is_number(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
