"""Write one Parquet shard of packed images, read it back, and locate the byte range of every image.

In an uncompressed column, Parquet's PLAIN encoding stores each value as a four-byte length (little-endian) followed by
the value, page after page; so images are located by searching for exactly these bytes, one after the other.
"""

import hashlib
import io
import itertools
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.reading.decode_image import CorruptImage, decode, describe
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError


def hash_of(content: bytes) -> str:
    """Hash the bytes of one image into 16 hex characters."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def write_shard(
    data: ImageData,
    ids: np.ndarray,
    path: Path,
    pool: ThreadPoolExecutor,
    progress: Callable[[int], None],
    rows_per_group: int,
) -> list[str]:
    """Decode the images of `ids` and write their bytes and labels; return the errors of corrupt images."""
    corrupt: list[str] = []
    results = pool.map(lambda i: verified_bytes(data, i), ids.tolist())
    # A dictionary or compression would break the byte ranges; statistics would copy images into the footer.
    with pq.ParquetWriter(
        path, schema(data), compression="none", use_dictionary=False, write_statistics=["id"], data_page_version="1.0"
    ) as writer:
        for start in range(0, len(ids), rows_per_group):
            rows = ids[start : start + rows_per_group]
            contents = []
            for result in itertools.islice(results, len(rows)):
                contents.append(b"" if isinstance(result, CorruptImage) else result)
                if isinstance(result, CorruptImage):
                    corrupt.append(str(result))
            writer.write_table(table(data, rows, contents))
            progress(len(rows))
    return corrupt


def verified_bytes(data: ImageData, i: int) -> bytes | CorruptImage:
    """Return the encoded bytes of image `i` after decoding them once, or the error if that fails."""
    if data.part[i] == LEFT_OUT:
        return b""
    try:
        if isinstance(data.images, Encoded):
            content = data.images.read(i)
            decode(content, describe(data.images, i))
        else:
            content = png(data.images[i])
            decode(content, f"image {i}")
    except CorruptImage as error:
        return error
    return content


def png(image: np.ndarray) -> bytes:
    """Encode an array (H, W, 1 or 3) losslessly."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format="PNG")
    return file.getvalue()


def schema(data: ImageData) -> pa.Schema:
    """Return the columns of a shard; `group` is null in all rows if the data have no groups."""
    labels = pa.field("label", pa.int64()) if data.task == "single" else pa.field("labels", pa.list_(pa.uint8()))
    return pa.schema(
        [
            pa.field("image", pa.binary(), nullable=False),
            labels,
            pa.field("id", pa.int64()),
            pa.field("group", pa.int64()),
            pa.field("part", pa.uint8()),
            pa.field("hash", pa.string()),
        ]
    )


def table(data: ImageData, ids: np.ndarray, contents: list[bytes]) -> pa.Table:
    """Return the rows of a shard for these ids."""
    columns = [
        contents,
        data.labels[ids] if data.task == "single" else data.labels[ids].tolist(),
        ids,
        [None] * len(ids) if data.groups is None else data.groups[ids],
        data.part[ids],
        [hash_of(content) for content in contents],
    ]
    fields = list(schema(data))
    return pa.Table.from_arrays(
        [pa.array(values, field.type) for values, field in zip(columns, fields)], schema=pa.schema(fields)
    )


def find_images(path: Path) -> tuple[list[int], list[int]]:
    """Read a shard back, compare every image with its hash, and return the offset and length of each."""
    offsets: list[int] = []
    lengths: list[int] = []
    shard = pq.ParquetFile(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        for group in range(shard.num_row_groups):
            chunk = shard.metadata.row_group(group).column(0)
            position, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
            rows = shard.read_row_group(group, columns=["image", "hash"])
            for content, expected in zip(rows.column("image").to_pylist(), rows.column("hash").to_pylist()):
                if hash_of(content) != expected:
                    raise UserError(f"{path}: image {len(offsets)} differs from what was written; check the disk")
                start = pages.find(len(content).to_bytes(4, "little") + content, position, end)
                if start < 0:
                    raise UserError(
                        f"{path}: image {len(offsets)} is not stored as plain bytes (pyarrow {pa.__version__})"
                    )
                offsets.append(start + 4)
                lengths.append(len(content))
                position = start + 4 + len(content)
    return offsets, lengths
