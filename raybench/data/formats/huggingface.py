"""A data set of Hugging Face's library on disk: saved by `save_to_disk`, or a folder of Parquet files as on the hub.

Layout: dataset_dict.json and one folder per split, or dataset_info.json, or data/<split>-00000-of-00001.parquet. The
official splits are named train, test, validation or unseen. Groups: a column. Nothing is downloaded.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.data.files import manifest_columns as columns
from raybench.data.files.embedded import ROWS, cached, extract, joined
from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, TRAIN, ImageData, dataset
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError, unknown

SPLIT = re.compile(r"(?:^|[^a-z])(train|training|test|val|valid|validation|unseen)(?:[^a-z]|$)")


@dataclass(frozen=True)
class Part:
    """One split: its name, the types of its columns, and where they are read from."""

    name: str
    features: Any  # datasets.Features
    files: list[Path]
    saved: Any = None  # datasets.Dataset of `save_to_disk`; None for Parquet files

    def column(self, name: str) -> list[Any]:
        """Return a column as Python values."""
        if self.saved is not None:
            return list(self.saved.with_format("arrow")[name].to_pylist())
        tables = (pq.read_table(file, columns=[name], partitioning=None) for file in self.files)
        return [value for table in tables for value in table.column(name).to_pylist()]

    def images(self, column: str) -> Encoded:
        """Return the images of a column, as they are encoded."""
        if self.saved is None:
            return joined([extract(file, column) for file in self.files])
        return cached(self.files[0].parent.name, self.files, column, lambda: self._bytes(column))

    def _bytes(self, column: str) -> Iterator[bytes]:
        row = 0
        for batch in self.saved.select_columns([column]).with_format("arrow").iter(batch_size=ROWS):
            for value in batch[column].to_pylist():
                row += 1
                if value is None or value["bytes"] is None:
                    raise UserError(f"huggingface: row {row} of split {self.name} has no bytes in column {column!r}")
                yield value["bytes"]


@dataset(
    source="your own images, in a data set of Hugging Face's library",
    needs="a folder that `save_to_disk` wrote, or Parquet files with a column of images; pip install "
    "'raybench[huggingface]'",
)
def huggingface(
    root: Path,
    *,
    download: bool = False,
    image: str | None = None,
    label: str | None = None,
    group: str | None = None,
) -> ImageData:
    """Read the splits in the order train, test, unseen, and their rows in the order of the files.

    The options name columns. image: by default the first column of images. label: whole numbers or texts, by default
    the column `label`, else the only class label; its class names are used. group: the identity, by default none.
    Raises UserError for a folder without such data, and where a split lacks a column of the first one.
    """
    parts = read_parts(root, _library())
    features = parts[0].features
    for part in parts[1:]:
        if missing := [name for name in features if name not in part.features]:
            raise UserError(f"huggingface: split {part.name} of {str(root)!r} has no column {missing[0]!r}")
    image_column = _pick(features, "image", image, [name for name in features if _kind(features[name]) == "Image"])
    class_labels = [name for name in features if _kind(features[name]) == "ClassLabel"]
    defaults = ["label"] if "label" in features else class_labels if len(class_labels) == 1 else []
    label_column = _pick(features, "label", label, defaults)
    names = list(features[label_column].names) if label_column in class_labels else None
    values = [value for part in parts for value in part.column(label_column)]
    labels, class_names = columns.class_ids(values, where=f"huggingface: column {label_column!r}", names=names)
    groups = None
    if group is not None:
        group_column = _pick(features, "group", group, [])
        owners = [value for part in parts for value in part.column(group_column)]
        groups = columns.group_ids(owners, where=f"huggingface: column {group_column!r}")
    images = joined([part.images(image_column) for part in parts])
    sizes = [len(part.column(label_column)) for part in parts]
    return ImageData(
        images=images,
        labels=labels,
        part=np.repeat([_part(part.name) for part in parts], sizes).astype(np.uint8),
        class_names=class_names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        groups=groups,
    )


def read_parts(root: Path, library: ModuleType) -> list[Part]:
    """Return the splits below root; raise UserError if there are none, or none to train on."""
    if not root.is_dir():
        raise UserError(f"huggingface: root {str(root)!r} is not a folder")
    if any((root / name).is_file() for name in ("dataset_dict.json", "dataset_info.json", "state.json")):
        parts = _saved(root, library)
    else:
        parts = _parquet(root, library)
    if len(parts) > 1 and all(_part(part.name) != TRAIN for part in parts):
        raise UserError(f"huggingface: no split of {str(root)!r} is train: {', '.join(part.name for part in parts)}")
    return sorted(parts, key=lambda part: (_part(part.name), part.name))


def _saved(root: Path, library: ModuleType) -> list[Part]:
    try:
        content = library.load_from_disk(str(root))
    except Exception as error:  # whatever the library raises for damaged metadata
        raise UserError(f"huggingface: {str(root)!r} cannot be read: {error}") from error
    splits = content.items() if isinstance(content, dict) else [("train", content)]
    folders = {name: root / name if isinstance(content, dict) else root for name, _ in splits}
    return [Part(name, saved.features, sorted(folders[name].glob("*.arrow")), saved) for name, saved in splits]


def _parquet(root: Path, library: ModuleType) -> list[Part]:
    files = sorted(path for path in root.rglob("*.parquet") if not path.name.startswith("."))
    if not files:
        raise UserError(
            f"huggingface: {str(root)!r} has neither dataset_info.json, which save_to_disk writes, nor .parquet files"
        )
    names = {path: SPLIT.search(path.relative_to(root).as_posix().lower()) for path in files}
    if len(files) > 1 and (unnamed := [path for path, name in names.items() if name is None]):
        raise UserError(f"huggingface: the name of {unnamed[0]} does not say its split, such as train-00000.parquet")
    splits: dict[str, list[Path]] = {}
    for path, name in names.items():
        splits.setdefault(name.group(1) if name else "train", []).append(path)
    return [Part(name, _features(listed[0], library), listed) for name, listed in splits.items()]


def _features(file: Path, library: ModuleType) -> Any:
    try:
        schema = pq.read_schema(file)
        return library.Features.from_arrow_schema(schema)
    except (pa.ArrowInvalid, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"huggingface: {file} cannot be read: {error}") from error


def _kind(feature: Any) -> str:
    """Return the type of a column; a struct of bytes and path without metadata is one of images too."""
    if isinstance(feature, dict) and set(feature) == {"bytes", "path"}:
        return "Image"
    return type(feature).__name__


def _part(split: str) -> int:
    if split.lower() not in columns.PARTS:
        raise unknown("split of a Hugging Face data set", split, columns.PARTS)
    return columns.PARTS[split.lower()]


def _pick(features: Any, option: str, name: str | None, defaults: Sequence[str]) -> str:
    if name is not None and name not in features:
        raise unknown(f"column for option `{option}`:", name, features)
    column = name if name is not None else next(iter(defaults), None)
    if column is None:
        raise UserError(f"huggingface: name the column with option `{option}` (columns: {', '.join(features)})")
    return column


def _library() -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            "dataset 'huggingface' needs the library datasets: pip install 'raybench[huggingface]'"
        ) from error
    library: ModuleType = datasets
    return library
