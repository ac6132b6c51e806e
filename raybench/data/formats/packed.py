"""The output of `raybench pack`: Parquet shards whose images are read by byte range, and an index.

Layout: meta.json, index.parquet and shards/. Official splits, labels and groups: those of the packed dataset.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.data.images import ImageData, dataset
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError

FORMAT = 1
SHARDS, INDEX, META, PACKING = "shards", "index.parquet", "meta.json", "packing"
KEYS = {"num_samples", "class_names", "mean", "std", "shards"}  # of meta.json


@dataset(source="written by `raybench pack`", needs=f"{META}, {INDEX} and {SHARDS}/")
def packed(root: Path, *, download: bool = False) -> ImageData:
    """Read the index; ids, labels, official splits, groups and names are those of the packed dataset.

    No image is read, but every shard must exist with its original size. Arrays were packed as PNG, which decode to the
    same pixels; gray images become RGB. Raises UserError for a pack that is incomplete, damaged, or of another format.
    """
    meta = read_meta(root)
    try:
        index = pq.read_table(root / INDEX)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{root / INDEX}: cannot be read ({error}); pack the data set again") from error
    if index.num_rows != meta["num_samples"] or index.column("id").to_pylist() != list(range(index.num_rows)):
        raise UserError(f"{root / INDEX}: {index.num_rows} rows, expected ids 0 to {meta['num_samples'] - 1}")
    for name, size in meta["shards"].items():
        path = root / SHARDS / name
        actual = path.stat().st_size if path.is_file() else None
        if actual != size:
            state = "is missing" if actual is None else f"has {actual} bytes, expected {size}"
            raise UserError(f"{path}: {state}; pack the data set again")
    multi = "labels" in index.column_names
    labels = np.array(index.column("labels").to_pylist(), dtype=np.uint8) if multi else numbers(index, "label")
    return ImageData(
        images=Encoded(
            str(root),
            np.array([f"{SHARDS}/{name}" for name in meta["shards"]]),
            numbers(index, "shard"),
            numbers(index, "offset"),
            numbers(index, "length"),
        ),
        labels=labels,
        part=numbers(index, "part").astype(np.uint8),
        class_names=tuple(meta["class_names"]),
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
        groups=None if index.column("group").null_count else numbers(index, "group"),
    )


def numbers(index: pa.Table, name: str) -> np.ndarray:
    """Return a column of the index as int64."""
    return np.asarray(index.column(name).to_numpy(), dtype=np.int64)


def read_meta(root: Path) -> dict[str, Any]:
    """Read meta.json, which is written last: without it, the pack is incomplete."""
    path = root / META
    if not path.is_file():
        state = "is incomplete: run raybench pack again" if (root / PACKING).is_dir() else f"contains no {META}"
        raise UserError(f"packed: {str(root)!r} {state}")
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        valid = meta["format"] == FORMAT and set(meta) >= KEYS
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not written by raybench pack: {error!r}") from error
    if not valid:
        raise UserError(f"{path}: not format {FORMAT} of raybench pack; pack the data set again")
    return meta
