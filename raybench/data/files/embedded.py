"""Images whose bytes are stored in a Parquet or Arrow file of any writer, made readable by byte range.

Other writers may compress them, so the images are copied once, byte for byte, into a flat file in the cache of this
machine. Its name contains a hash of the source: an edited manifest is copied again, a moved one is not.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.data.reading.encoded import Encoded
from raybench.data.reading.names import Names
from raybench.errors import UserError

CACHE = Path("~/.cache/raybench/images")
ROWS = 128  # rows per read
STALE_SECONDS = 3600  # a partial file of this age belongs to a process that was killed


def extract(parquet: Path, column: str) -> Encoded:
    """Return the images of `column` (bytes, or a struct of bytes and path), one per row, from the cache."""
    return cached(parquet.stem, [parquet], column, lambda: contents(parquet, column))


def cached(stem: str, files: Sequence[Path], column: str, read: Callable[[], Iterable[bytes]]) -> Encoded:
    """Return the images of a column, which `read` yields, from the cache; the content of `files` decides them."""
    folder = CACHE.expanduser()
    hashed = hashlib.blake2b(column.encode(), digest_size=12)
    for source in files:
        with source.open("rb") as file:
            while block := file.read(2**20):
                hashed.update(block)
    images, index = (folder / f"{stem}-{hashed.hexdigest()}.{kind}" for kind in ("images", "npy"))
    if not images.is_file():
        copy(read(), images, index)
    lengths = np.load(index, allow_pickle=False)
    if images.stat().st_size != lengths.sum():
        raise UserError(
            f"{images}: has {images.stat().st_size} bytes, expected {lengths.sum()}; it is damaged, delete it"
        )
    offsets = np.cumsum(lengths) - lengths
    return Encoded(str(folder), Names.of([images.name]), np.zeros(len(lengths), dtype=np.int64), offsets, lengths)


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Return the images of several parts from the cache as one."""
    starts = np.cumsum([0, *(len(part.files) for part in parts)])
    return Encoded(
        parts[0].root,
        Names.joined([part.files for part in parts]),
        np.concatenate([part.file + start for part, start in zip(parts, starts)]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.length for part in parts]),
    )


def copy(read: Iterable[bytes], images: Path, index: Path) -> None:
    """Write all images one after the other, and their lengths; the image file appears last and complete."""
    images.parent.mkdir(parents=True, exist_ok=True)
    for stale in images.parent.glob(".partial-*"):
        if time.time() - stale.stat().st_mtime > STALE_SECONDS:
            stale.unlink(missing_ok=True)
    suffix = uuid.uuid4().hex
    partial, partial_index = (images.with_name(f".partial-{suffix}{path.suffix}") for path in (images, index))
    try:
        with partial.open("wb") as file:
            lengths = [file.write(content) for content in read]
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
