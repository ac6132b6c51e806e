"""Parse the columns of a manifest: class ids, multi-label targets, groups and official splits; errors name the row.

Rows are counted from 1; the header of a CSV is not counted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from raybench.data.images import TEST, TRAIN, UNSEEN
from raybench.data.listing import first_few
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
    """Convert a column of labels to class ids, (N,) int64, and the class names.

    Whole numbers are class ids; they must run from 0 without gaps, unless `names` or `count` gives the number of
    classes. Texts get ids in sorted order, or in the order of `names`.
    """
    refuse_empty(values, where)
    numbers = [as_integer(value) for value in values]
    if all(number is not None for number in numbers):
        return of_numbers(np.array(numbers, dtype=np.int64), where, names, count)
    for row, (value, number) in enumerate(zip(values, numbers), start=1):
        if number is None and not isinstance(value, str):
            raise UserError(f"{where}: row {row} is {value!r}; labels are whole numbers or texts")
    if all(is_number(value) for value in values):
        row = next(i for i, number in enumerate(numbers) if number is None)
        raise UserError(f"{where}: row {row + 1} is {values[row]!r}; labels are whole numbers or texts")
    if count is not None:
        raise UserError(f"{where}: the labels are texts, so option `classes` should list their names; found {count}")
    texts = [str(value) for value in values]
    ordered = tuple(sorted(set(texts)) if names is None else names)
    id_of = {name: i for i, name in enumerate(ordered)}
    for row, text in enumerate(texts, start=1):
        if text not in id_of:
            raise unknown(f"class in {where}, row {row}:", text, ordered)
    return np.array([id_of[text] for text in texts], dtype=np.int64), ordered


def of_numbers(
    ids: np.ndarray, where: str, names: Sequence[str] | None, count: int | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Check numeric class ids and name them."""
    if names is None and count is None:
        count = int(ids.max()) + 1
        present = set(ids[ids >= 0].tolist())
        if len(present) < count:
            absent = next(i for i in range(count) if i not in present)
            raise UserError(
                f"{where}: labels run from {ids.min()} to {ids.max()}, but no row has {absent}: number them from 0, or "
                "set option `classes` (the number of classes, or the list of their names)"
            )
    class_names = tuple(names) if names is not None else tuple(str(i) for i in range(count or 0))
    wrong = np.flatnonzero((ids < 0) | (ids >= len(class_names)))
    if len(wrong):
        raise UserError(
            f"{where}: row {wrong[0] + 1} is {ids[wrong[0]]}, but the classes are 0 to {len(class_names) - 1}"
        )
    return ids, class_names


def binary(values: Sequence[Any], *, where: str) -> np.ndarray:
    """Convert one column of a multi-label task to 0 and 1, (N,) uint8."""
    refuse_empty(values, where)
    for row, value in enumerate(values, start=1):
        if str(value).lower() not in BINARY:
            raise UserError(f"{where}: row {row} is {value!r}; a multi-label target is 0 or 1 (or true, false)")
    return np.array([BINARY[str(value).lower()] for value in values], dtype=np.uint8)


def group_ids(values: Sequence[Any], *, where: str) -> np.ndarray:
    """Convert a column of groups to (N,) int64: whole numbers stay, other values are numbered in sorted order."""
    refuse_empty(values, where)
    numbers = [as_integer(value) for value in values]
    if all(number is not None for number in numbers):
        return np.array(numbers, dtype=np.int64)
    return np.unique([str(value) for value in values], return_inverse=True)[1].astype(np.int64)


def parts(values: Sequence[Any], *, where: str) -> np.ndarray:
    """Convert a column of split names to official splits, (N,) uint8; validation counts as test; case-insensitive."""
    refuse_empty(values, where)
    for row, value in enumerate(values, start=1):
        if str(value).lower() not in PARTS:
            raise unknown(f"split in {where}, row {row}:", value, PARTS)
    result = np.array([PARTS[str(value).lower()] for value in values], dtype=np.uint8)
    if not (result == TRAIN).any():
        raise UserError(f"{where}: no row is train; the models need a training split")
    return result


def refuse_empty(values: Sequence[Any], where: str) -> None:
    """Raise UserError with the row numbers of empty cells."""
    if empty := [str(row) for row, value in enumerate(values, start=1) if value is None or value == ""]:
        raise UserError(f"{where}: {len(empty)} cells are empty, in rows {first_few(empty)}")


def as_integer(value: Any) -> int | None:
    """Return a whole number, or a text that is one, as int; else None."""
    if isinstance(value, int | np.integer):
        return int(value) if abs(int(value)) < 2**63 else None
    text = value if isinstance(value, str) else ""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else None


def is_number(value: Any) -> bool:
    """Return whether a value can be converted to float."""
    try:
        float(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True
