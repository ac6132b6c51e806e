"""Your own images, one row each in a CSV or Parquet file.

    path,label,group,split
    photos/1.jpg,cat,anna,train

Layout: the file and images with paths relative to root; a Parquet file may contain the images as bytes, or as Hugging
Face's datasets library stores them. Official splits, labels and groups: columns.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raybench import limits
from raybench.data.files import manifest_columns as columns
from raybench.data.files.embedded import extract
from raybench.data.files.folders import missing_files, relative_name
from raybench.data.files.manifest_table import SUFFIXES, Table
from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, TRAIN, ImageData, dataset
from raybench.data.listing import first_few
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
    """Read the rows of `file` in order; without it, root must contain exactly one .csv or .parquet file.

    The other options name columns with non-default names. image: a path relative to root, or the bytes of the image.
    label: a whole number or a text; `labels` lists several columns of 0 and 1 instead. group: the identity, a number or
    any text. split: train, test or unseen; val and validation count as test. `classes` lists the class names in the
    order of their ids, or is the number of classes; set it if not every class has an image. Names that Hugging Face's
    library stored in a Parquet file are used. Raises UserError with row numbers, counted from 1 below the header.
    """
    table = Table.open(find_manifest(root, file))
    image_column = pick(table, "image", image, ("image", "path"))
    if label is not None and labels is not None:
        raise UserError("manifest takes label (one column of classes) or labels (several columns of 0 and 1), not both")
    if labels is None:
        targets, class_names = read_classes(table, pick(table, "label", label, ("label",)), classes)
    else:
        targets, class_names = read_multi_label(table, labels)
    parts, groups = (read_optional(table, *option) for option in (("split", split), ("group", group)))
    images = (
        extract(table.path, image_column)
        if table.holds_bytes(image_column)
        else of_paths(root, table.path, table.column(image_column))
    )
    return ImageData(
        images=images,
        labels=targets,
        part=np.full(len(images), TRAIN, dtype=np.uint8) if parts is None else columns.parts(parts[0], where=parts[1]),
        class_names=class_names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        groups=None if groups is None else columns.group_ids(groups[0], where=groups[1]),
    )


def find_manifest(root: Path, file: str | None) -> Path:
    """Return the path of the manifest: `file`, or the only one in `root`."""
    if file is not None:
        path = root / file
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            raise UserError(f"manifest: {str(path)!r} is not a .csv or .parquet file")
        return path
    if not root.is_dir():
        raise UserError(f"manifest: root {str(root)!r} is not a folder")
    names = sorted(p.name for p in root.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if len(names) != 1:
        listed = f": {first_few(names)}" if names else ""
        raise UserError(
            f"manifest: set option `file`: {str(root)!r} contains {len(names)} .csv and .parquet files{listed}"
        )
    return root / names[0]


def pick(table: Table, option: str, name: str | None, defaults: Sequence[str]) -> str:
    """Return the column that an option names, or the first default that exists."""
    if name is not None and name not in table.names:
        raise unknown(f"column for option `{option}` in {table.path}:", name, table.names)
    column = name if name is not None else next((default for default in defaults if default in table.names), None)
    if column is None:
        raise UserError(
            f"{table.path}: no column {' or '.join(map(repr, defaults))}; name it with option `{option}` "
            f"(columns: {', '.join(table.names)})"
        )
    return column


def read_optional(table: Table, option: str, name: str | None) -> tuple[list[Any], str] | None:
    """Return the cells of an optional column, and its description for errors; None if it does not exist."""
    if name is None and option not in table.names:
        return None
    column = pick(table, option, name, (option,))
    return table.column(column), f"{table.path}: column {column!r}"


def read_classes(table: Table, column: str, classes: int | list[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read class ids and class names from one column."""
    is_list = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    is_count = isinstance(classes, int) and not isinstance(classes, bool) and 0 < classes <= limits.CLASSES
    if not (classes is None or is_list or is_count):
        raise UserError(
            f"manifest: classes is {classes!r}; set the list of class names, or the number of classes, at most "
            f"{limits.CLASSES}"
        )
    names = table.class_names(column) if classes is None else classes if isinstance(classes, list) else None
    count = classes if isinstance(classes, int) else None
    return columns.class_ids(table.column(column), where=f"{table.path}: column {column!r}", names=names, count=count)


def read_multi_label(table: Table, labels: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read one column of 0 and 1 per label; the column is the name of the label."""
    if not isinstance(labels, list | tuple) or len(set(labels)) < len(labels) or not labels:
        raise UserError(f"manifest: labels is {labels!r}; set a list of distinct columns, such as [smiling, young]")
    targets = [
        columns.binary(table.column(pick(table, "labels", name, ())), where=f"{table.path}: column {name!r}")
        for name in labels
    ]
    return np.stack(targets, axis=1), tuple(labels)


def of_paths(root: Path, path: Path, values: Sequence[str | None]) -> Encoded:
    """Return the images after checking that every path names a distinct file below `root`."""
    names: list[str] = []
    row_of: dict[str, int] = {}
    for row, value in enumerate(values, start=1):
        if not value:
            raise UserError(f"{path}: row {row} has no image")
        name = relative_name(value, f"{path}: row {row}", root)
        if name in row_of:
            raise UserError(f"{path}: rows {row_of[name]} and {row} both name {value!r}; list every image once")
        row_of[name] = row
        names.append(name)
    if missing := missing_files(root, names):
        listed = first_few(f"row {i + 1} {names[i]!r}" for i in missing)
        raise UserError(f"{path}: {len(missing)} of {len(names)} images are missing below {str(root)!r}: {listed}")
    return Encoded.of_files(root, names)
