"""Images whose bytes are stored in a Parquet file of any writer, made readable by byte range.

Other writers may compress them, so the images are copied once, byte for byte, into a flat file in the cache of this
machine. Its name contains a hash of the Parquet file: an edited manifest is copied again, a moved one is not.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError

CACHE = Path("~/.cache/raybench/images")
ROWS = 128  # rows per read
STALE_SECONDS = 3600  # a partial file of this age belongs to a process that was killed


def extract(parquet: Path, column: str) -> Encoded:
    """Return the images of `column` (bytes, or a struct of bytes and path), one per row, from the cache."""
    folder = CACHE.expanduser()
    with parquet.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(column.encode(), digest_size=12)).hexdigest()
    images, index = (folder / f"{parquet.stem}-{digest}.{kind}" for kind in ("images", "npy"))
    if not images.is_file():
        copy(parquet, column, images, index)
    lengths = np.load(index, allow_pickle=False)
    if images.stat().st_size != lengths.sum():
        raise UserError(
            f"{images}: has {images.stat().st_size} bytes, expected {lengths.sum()}; it is damaged, delete it"
        )
    offsets = np.cumsum(lengths) - lengths
    return Encoded(str(folder), np.array([images.name]), np.zeros(len(lengths), dtype=np.int64), offsets, lengths)


def copy(parquet: Path, column: str, images: Path, index: Path) -> None:
    """Write all images one after the other, and their lengths; the image file appears last and complete."""
    images.parent.mkdir(parents=True, exist_ok=True)
    for stale in images.parent.glob(".partial-*"):
        if time.time() - stale.stat().st_mtime > STALE_SECONDS:
            stale.unlink(missing_ok=True)
    suffix = uuid.uuid4().hex
    partial, partial_index = (images.with_name(f".partial-{suffix}{path.suffix}") for path in (images, index))
    try:
        with partial.open("wb") as file:
            lengths = [file.write(content) for content in contents(parquet, column)]
        np.save(partial_index, np.array(lengths, dtype=np.int64), allow_pickle=False)
        os.replace(partial_index, index)
        os.replace(partial, images)
    finally:
        partial.unlink(missing_ok=True)
        partial_index.unlink(missing_ok=True)


def contents(parquet: Path, column: str) -> Iterator[bytes]:
    """Yield the bytes of every row; raise UserError with the row number for a row without bytes."""
    row = 0
    try:
        file = pq.ParquetFile(parquet)
        is_struct = pa.types.is_struct(file.schema_arrow.field(column).type)
        for batch in file.iter_batches(ROWS, columns=[f"{column}.bytes" if is_struct else column]):
            values = batch.column(0).field("bytes") if is_struct else batch.column(0)
            for value in values.to_pylist():
                row += 1
                if value is None:
                    raise UserError(f"{parquet}: row {row} has no bytes in column {column!r}")
                yield value
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UserError(f"{parquet}: cannot be read after row {row}: {error}") from error
