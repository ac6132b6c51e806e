"""The output of `raybench pack`: Parquet shards whose images are read by byte range, and an index.

Layout: meta.json, index.parquet and shards/. Official splits, labels and groups: those of the packed dataset.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench import limits
from raybench.data.files.text import read_json
from raybench.data.images import LEFT_OUT, ImageData, dataset
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.names import Names
from raybench.errors import UserError

FORMAT = 1
SHARDS, INDEX, META, PACKING = "shards", "index.parquet", "meta.json", "packing"
SHARD = r"shard-[0-9]{5,9}\.parquet"
KEYS = {"num_samples", "class_names", "mean", "std", "shards"}  # of meta.json


@dataset(source="written by `raybench pack`", needs=f"{META}, {INDEX} and {SHARDS}/")
def packed(root: Path, *, download: bool = False) -> ImageData:
    """Read the index; ids, labels, official splits, groups and names are those of the packed dataset.

    No image is read, but every shard must exist with its original size. Arrays were packed as PNG, which decode to the
    same pixels; gray images become RGB. Raises UserError for a pack that is incomplete, damaged, or of another format.
    """
    meta = read_meta(root)
    try:
        index = pq.read_table(root / INDEX, partitioning=None)
        columns = index.column_names
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        raise UserError(f"{root / INDEX}: cannot be read ({error}); pack the data set again") from error
    multi = "labels" in columns
    if absent := {"id", "shard", "offset", "length", "part", "group"} - set(columns):
        raise UserError(f"{root / INDEX}: no column {min(absent)!r}; pack the data set again")
    ids = numbers(root, index, "id")
    if len(ids) != meta["num_samples"] or not np.array_equal(ids, np.arange(len(ids))):
        raise UserError(f"{root / INDEX}: {index.num_rows} rows, expected ids 0 to {meta['num_samples'] - 1}")
    shards, offsets, lengths = (numbers(root, index, name) for name in ("shard", "offset", "length"))
    sizes = np.array(list(meta["shards"].values()), dtype=np.int64)
    for name, size in meta["shards"].items():
        path = root / SHARDS / name
        actual = path.stat().st_size if path.is_file() else None
        if actual != size:
            state = "is missing" if actual is None else f"has {actual} bytes, expected {size}"
            raise UserError(f"{path}: {state}; pack the data set again")
    inside = (shards >= 0) & (shards < len(sizes)) & (offsets >= 0) & (lengths >= 0) & (lengths <= limits.IMAGE_BYTES)
    inside[inside] &= offsets[inside] <= sizes[shards[inside]] - lengths[inside]
    if not inside.all():
        raise UserError(
            f"{root / INDEX}: image {int(np.argmin(inside))} lies outside its shard; pack the data set again"
        )
    part = numbers(root, index, "part")
    if part.min() < 0 or part.max() > LEFT_OUT:
        raise UserError(f"{root / INDEX}: part runs from {part.min()} to {part.max()} (allowed: 0 to {LEFT_OUT})")
    labels = targets(root, index) if multi else numbers(root, index, "label")
    return ImageData(
        images=Encoded(
            str(root),
            Names.of(f"{SHARDS}/{name}" for name in meta["shards"]),
            shards,
            offsets,
            lengths,
        ),
        labels=labels,
        part=part.astype(np.uint8),
        class_names=tuple(meta["class_names"]),
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
        groups=None if index.column("group").null_count else numbers(root, index, "group"),
    )


def numbers(root: Path, index: pa.Table, name: str) -> np.ndarray:
    """Return a column of the index as int64; raise UserError for anything but whole numbers."""
    if name not in index.column_names or not pa.types.is_integer(index.column(name).type):
        raise UserError(f"{root / INDEX}: column {name!r} holds no whole numbers; pack the data set again")
    if index.column(name).null_count:
        raise UserError(f"{root / INDEX}: column {name!r} has empty cells; pack the data set again")
    return np.asarray(index.column(name).to_numpy(), dtype=np.int64)


def targets(root: Path, index: pa.Table) -> np.ndarray:
    """Return the labels of a multi-label task, (N, L) uint8; raise UserError for rows of unequal length."""
    try:
        return np.array(index.column("labels").to_pylist(), dtype=np.uint8)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{root / INDEX}: column 'labels' holds no rows of 0 and 1; pack the data set again") from error


def read_meta(root: Path) -> dict[str, Any]:
    """Read meta.json, which is written last: without it, the pack is incomplete."""
    path = root / META
    if not path.is_file():
        state = "is incomplete: run raybench pack again" if (root / PACKING).is_dir() else f"contains no {META}"
        raise UserError(f"packed: {str(root)!r} {state}")
    meta: dict[str, Any] = read_json(path, "JSON, so it was not written by raybench pack")
    valid = isinstance(meta, dict) and meta.get("format") == FORMAT and set(meta) >= KEYS
    if not valid:
        raise UserError(f"{path}: not format {FORMAT} of raybench pack; pack the data set again")
    shards, names = meta["shards"], meta["class_names"]
    mean, std = listed(meta["mean"]), listed(meta["std"])
    plain = (
        type(meta["num_samples"]) is int
        and isinstance(shards, dict)
        and all(re.fullmatch(SHARD, name) and type(size) is int and 0 <= size < 2**62 for name, size in shards.items())
        and all(isinstance(name, str) for name in listed(names))
        and len(listed(names)) > 0
        and all(type(value) in (int, float) and math.isfinite(value) for value in [*mean, *std])
        and len(mean) == len(std) > 0
    )
    if not plain:
        raise UserError(f"{path}: not written by raybench pack; pack the data set again")
    return meta


def listed(value: Any) -> list[Any]:
    """Return a list; an empty one for any other value."""
    return value if isinstance(value, list) else []
