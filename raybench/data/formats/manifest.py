"""Bring your own images: a CSV or Parquet file with a row for each, its label, and what else is known of it.

    path,label,group,split
    photos/1.jpg,cat,anna,train

A Parquet file may hold the images themselves, as bytes or as Hugging Face's library writes them.
"""

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raybench.data.files import manifest_columns as columns
from raybench.data.files.embedded import extract
from raybench.data.files.folders import missing_files, shown
from raybench.data.files.manifest_table import SUFFIXES, Table
from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, TRAIN, ImageData, dataset
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError, unknown


@dataset(
    source="your own images",
    needs="a .csv or .parquet file with columns path or image, label, and if you like group and split",
)
def manifest(
    root: Path,
    *,
    download: bool = False,
    file: str | None = None,
    image: str | None = None,
    label: str | None = None,
    labels: list[str] | None = None,
    group: str | None = None,
    split: str | None = None,
    classes: int | list[str] | None = None,
) -> ImageData:
    """Read the rows of `file` in their order; without it root must hold exactly one .csv or .parquet file.

    The other options name columns that are called otherwise. image: a path relative to root, or the image's bytes.
    label: a whole number or a text; `labels` lists several columns of 0 and 1 instead. group: the identity, a number or
    any text. split: train, test, unseen; val and validation count as test. `classes` gives the names in the order of
    their ids, or how many there are, where not every class has an image; the names that Hugging Face writes into a
    Parquet file are taken from it. Raises UserError with the numbers of the rows, counted from 1 below the column
    names.
    """
    table = Table.open(find_manifest(root, file))
    image_column = pick(table, "image", image, ("image", "path"))
    if label is not None and labels is not None:
        raise UserError("manifest takes label, the column of a class, or labels, several columns of 0 and 1; not both")
    if labels is None:
        found, class_names = read_classes(table, pick(table, "label", label, ("label",)), classes)
    else:
        found, class_names = read_multi_label(table, labels)
    parts, groups = (read_optional(table, *asked) for asked in (("split", split), ("group", group)))
    images = (
        extract(table.path, image_column)
        if table.holds_bytes(image_column)
        else of_paths(root, table.path, table.column(image_column))
    )
    return ImageData(
        images=images,
        labels=found,
        part=np.full(len(images), TRAIN, dtype=np.uint8) if parts is None else columns.parts(parts[0], where=parts[1]),
        class_names=class_names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        groups=None if groups is None else columns.group_ids(groups[0], where=groups[1]),
    )


def find_manifest(root: Path, file: str | None) -> Path:
    """Return the path of the manifest, named by the user or the only one in `root`."""
    if file is not None:
        path = root / file
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            raise UserError(f"manifest: {str(path)!r} is not a .csv or .parquet file")
        return path
    if not root.is_dir():
        raise UserError(f"manifest: root {str(root)!r} is not a folder")
    found = sorted(p.name for p in root.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if len(found) != 1:
        listed = f": {shown(found)}" if found else ""
        raise UserError(
            f"manifest: give option `file`: {str(root)!r} holds {len(found)} .csv and .parquet files{listed}"
        )
    return root / found[0]


def pick(table: Table, option: str, given: str | None, usual: Sequence[str]) -> str:
    """Return the column that an option names, or the first of the usual ones that is there."""
    if given is not None and given not in table.names:
        raise unknown(f"column for option `{option}` in {table.path}:", given, table.names)
    column = given if given is not None else next((name for name in usual if name in table.names), None)
    if column is None:
        raise UserError(
            f"{table.path}: no column {' or '.join(map(repr, usual))}; name it with option `{option}` "
            f"(columns: {', '.join(table.names)})"
        )
    return column


def read_optional(table: Table, option: str, given: str | None) -> tuple[list[Any], str] | None:
    """Return the cells of a column that need not be there, and how to call them in an error."""
    if given is None and option not in table.names:
        return None
    column = pick(table, option, given, (option,))
    return table.column(column), f"{table.path}: column {column!r}"


def read_classes(table: Table, column: str, classes: int | list[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read class ids and names from one column."""
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    counted = isinstance(classes, int) and not isinstance(classes, bool) and classes > 0
    if not (classes is None or named or counted):
        raise UserError(f"manifest: classes is {classes!r}; give the list of their names, or how many there are")
    names = table.class_names(column) if classes is None else classes if isinstance(classes, list) else None
    count = classes if isinstance(classes, int) else None
    return columns.class_ids(table.column(column), where=f"{table.path}: column {column!r}", names=names, count=count)


def read_multi_label(table: Table, labels: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read one column of 0 and 1 for each label, whose name it is."""
    if not isinstance(labels, list | tuple) or len(set(labels)) < len(labels) or not labels:
        raise UserError(f"manifest: labels is {labels!r}; give a list of different columns, such as [smiling, young]")
    found = [
        columns.binary(table.column(pick(table, "labels", name, ())), where=f"{table.path}: column {name!r}")
        for name in labels
    ]
    return np.stack(found, axis=1), tuple(labels)


def of_paths(root: Path, path: Path, values: Sequence[str | None]) -> Encoded:
    """Check that every path names one file below `root`, and none twice."""
    names: list[str] = []
    row_of: dict[str, int] = {}
    for row, value in enumerate(values, start=1):
        if not value:
            raise UserError(f"{path}: row {row} names no image")
        name = posixpath.normpath(value).removeprefix(f"{root}/")
        if name.startswith(("/", "../")):
            raise UserError(f"{path}: row {row}: {value!r} lies outside root {str(root)!r}; paths are relative to it")
        if name in row_of:
            raise UserError(f"{path}: rows {row_of[name]} and {row} both name {value!r}; list every image once")
        row_of[name] = row
        names.append(name)
    if missing := missing_files(root, names):
        listed = shown([f"row {i + 1} {names[i]!r}" for i in missing])
        raise UserError(f"{path}: {len(missing)} of {len(names)} images are missing below {str(root)!r}: {listed}")
    return Encoded.of_files(root, names)
