"""Pack any dataset into Parquet shards: few large files that copy fast and that Ray Data reads directly.

    OUT/shards/shard-00000.parquet ...   image, label (or labels), id, group, part, hash
    OUT/index.parquet                    shard, offset, length of every image, and the columns except the image
    OUT/meta.json                        names, mean and std; written last

Images are stored uncompressed, so each one is also a byte range of its file that can be read without Parquet.
"""

import functools
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.data.formats.packed import FORMAT, INDEX, META, PACKING, SHARDS
from raybench.data.images import ImageData
from raybench.data.packing.shards import find_images, schema, write_shard
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError
from raybench.storage import durable

PLAN, CORRUPT = "plan.json", "corrupt.txt"
NUM_LISTED = 5  # corrupt images that an error names
SHARD_BYTES = 256_000_000
ROWS_PER_GROUP = 64


def pack(
    data: ImageData,
    out: Path,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda count: None,
    shard_bytes: int = SHARD_BYTES,
    rows_per_group: int = ROWS_PER_GROUP,
) -> None:
    """Write `data` to the folder `out`, shard by shard; the source files are never changed.

    Each image is decoded once by one of `workers` threads (default: one per core) and stored byte for byte; arrays are
    stored as PNG; samples that are left out keep their row, without an image. Every shard is read back and verified by
    hash. An interrupted call continues with the next shard when it is repeated; on a finished pack, a call does
    nothing. `progress` receives the number of images that were finished, those of an earlier call first.

    Raises UserError for corrupt images, at the end and with their names (after a repair, only their shards are written
    again), for an `out` that contains anything else or lies inside the root of the data, and for a shard that does not
    read back as written.
    """
    if shard_bytes < 1 or rows_per_group < 1:
        raise UserError(f"shard_bytes {shard_bytes} and rows_per_group {rows_per_group} should be at least 1")
    plan = {"format": FORMAT, "data": identity(data), "shard_bytes": shard_bytes, "rows_per_group": rows_per_group}
    require_free(data, out, plan)
    work = out / PACKING
    if not (out / META).is_file():
        (out / SHARDS).mkdir(parents=True, exist_ok=True)
        work.mkdir(exist_ok=True)
        write_json(work / PLAN, plan)
        for partial in (out / SHARDS).glob(".*.partial"):
            partial.unlink()
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            try:
                corrupt = pack_shards(data, out, pool, progress, shard_bytes, rows_per_group)
            except BaseException:
                pool.shutdown(cancel_futures=True)  # otherwise Ctrl-C waits for every image of the shard
                raise
        if corrupt:
            (work / CORRUPT).write_text("\n".join(corrupt) + "\n", encoding="utf-8")
            raise UserError(
                f"{len(corrupt)} of {data.num_samples} images are corrupt: {'; '.join(corrupt[:NUM_LISTED])}"
                f"{'; ...' if len(corrupt) > NUM_LISTED else ''}. All are listed in {str(work / CORRUPT)!r}; replace "
                "them with intact copies and run the same command again"
            )
        finish(data, out, plan)
    else:
        progress(data.num_samples)
    shutil.rmtree(work, ignore_errors=True)


def pack_shards(
    data: ImageData,
    out: Path,
    pool: ThreadPoolExecutor,
    progress: Callable[[int], None],
    shard_bytes: int,
    rows_per_group: int,
) -> list[str]:
    """Write the missing shards, each with its rows of the index in packing/; return errors about corrupt images."""
    sizes = image_sizes(data)
    missing = []
    for number, ids in enumerate(cut(sizes, shard_bytes)):
        shard, rows = out / SHARDS / f"shard-{number:05}.parquet", out / PACKING / f"{number:05}.parquet"
        if is_complete(shard, rows, key_of(ids, sizes)):
            progress(len(ids))
        else:
            missing.append((number, ids, shard, rows))
    corrupt = []
    for number, ids, shard, rows in missing:
        partial = shard.with_name(f".{shard.name}.partial")
        shard.unlink(
            missing_ok=True
        )  # otherwise a shard from before a repair could be mistaken for the one that `rows` describes
        if shard_errors := write_shard(data, ids, partial, pool, progress, rows_per_group):
            corrupt += shard_errors
            partial.unlink()
            continue
        offsets, lengths = find_images(partial)
        index = pq.read_table(partial, columns=[name for name in schema(data).names if name != "image"])
        index = index.add_column(0, "shard", pa.array(np.full(len(ids), number), pa.int32()))
        index = index.add_column(1, "offset", pa.array(offsets, pa.int64()))
        index = index.add_column(2, "length", pa.array(lengths, pa.int64()))
        index = index.replace_schema_metadata({"key": key_of(ids, sizes)})
        replace(rows, functools.partial(pq.write_table, index))
        durable.replace(partial, shard)  # last: a shard that exists is complete, and so are its rows
    return corrupt


def image_sizes(data: ImageData) -> np.ndarray:
    """Return the size of every image in bytes, int64 (N,); for arrays that of the pixels, an upper estimate for PNG."""
    if isinstance(data.images, Encoded):
        return data.images.sizes()
    return np.full(data.num_samples, math.prod(data.images.shape[1:]), dtype=np.int64)


def cut(sizes: np.ndarray, shard_bytes: int) -> Iterator[np.ndarray]:
    """Divide the ids into runs whose images take about `shard_bytes` together, the same at every call."""
    shard = (np.cumsum(sizes) - 1) // shard_bytes
    yield from np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(shard)) + 1)


def key_of(ids: np.ndarray, sizes: np.ndarray) -> str:
    """Hash which images a shard contains and their sizes; a repaired file changes the key of its shard."""
    return hashlib.blake2b(ids.tobytes() + sizes[ids].tobytes(), digest_size=8).hexdigest()


def is_complete(shard: Path, rows: Path, key: str) -> bool:
    """Return whether an earlier call finished this shard; otherwise it is written again."""
    if not (shard.is_file() and rows.is_file()):
        return False
    try:
        metadata = pq.read_schema(rows).metadata or {}
        return (
            metadata.get(b"key") == key.encode() and pq.read_metadata(shard).num_rows == pq.read_metadata(rows).num_rows
        )
    except (pa.ArrowInvalid, OSError):
        return False


def finish(data: ImageData, out: Path, plan: dict[str, Any]) -> None:
    """Concatenate the rows of the index, then write meta.json, which marks the pack as complete."""
    count = sum(1 for _ in cut(image_sizes(data), plan["shard_bytes"]))
    names = [f"{number:05}.parquet" for number in range(count)]
    for obsolete in {*(out / SHARDS).glob("shard-*")} - {out / SHARDS / f"shard-{name}" for name in names}:
        obsolete.unlink()  # from before a repair, when the images took one more shard
    index = pa.concat_tables([pq.read_table(out / PACKING / name).replace_schema_metadata() for name in names])
    replace(out / INDEX, functools.partial(pq.write_table, index))
    gray = data.channels == 1  # decoding returns RGB
    write_json(
        out / META,
        {
            "format": FORMAT,
            "plan": plan,
            "fingerprint": data.fingerprint(),
            "num_samples": data.num_samples,
            "class_names": list(data.class_names),
            "mean": list(data.mean) * (3 if gray else 1),
            "std": list(data.std) * (3 if gray else 1),
            "shards": {path.name: path.stat().st_size for path in sorted((out / SHARDS).glob("*.parquet"))},
        },
    )


def require_free(data: ImageData, out: Path, plan: dict[str, Any]) -> None:
    """Raise UserError unless `out` is empty, missing, or contains a pack of the same data that can be resumed."""
    if isinstance(data.images, Encoded) and out.resolve().is_relative_to(Path(data.images.root).resolve()):
        raise UserError(f"{str(out)!r} lies inside {data.images.root!r}, the folder of the data; choose another folder")
    if not out.exists() or (out.is_dir() and not any(is_foreign(path) for path in out.rglob("*"))):
        return
    try:
        if (out / META).is_file():
            meta = json.loads((out / META).read_text(encoding="utf-8"))
            stored = meta["plan"] | {"files": meta["fingerprint"]}
            plan = plan | {"files": data.fingerprint()}
        else:
            stored = dict(json.loads((out / PACKING / PLAN).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(out)!r} is not empty and contains no pack; choose another folder") from error
    if stored != plan:
        differs = ", ".join(key for key in plan if stored.get(key) != plan[key])
        raise UserError(
            f"{str(out)!r} contains a pack of other data or settings ({differs}); choose another folder or delete it"
        )


def is_foreign(path: Path) -> bool:
    """Return whether a file cannot be the remains of an interrupted call."""
    return not path.is_dir() and not (path.name.startswith(".") and path.name.endswith(".partial"))


def identity(data: ImageData) -> str:
    """Hash a dataset except for the content of its files, which may be repaired between two calls."""
    if not isinstance(data.images, Encoded):
        return data.fingerprint()
    digest = hashlib.blake2b(repr((data.class_names, data.mean, data.std)).encode(), digest_size=8)
    digest.update(data.images.files.text[:-1].data)
    for array in (data.images.file, data.labels, data.part, data.groups):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_json(path: Path, content: dict[str, Any]) -> None:
    replace(path, lambda partial: partial.write_text(json.dumps(content), encoding="utf-8"))


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name, then rename it, so that it appears complete or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    durable.replace(partial, path)
