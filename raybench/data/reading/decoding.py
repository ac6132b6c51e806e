"""Decode a whole set once, or look through it: in threads, each corrupt file found and named.

A set that fits is decoded to its view, one uint8 array, and is then as quick as any small set; one that does not is
only looked through here, and decoded batch by batch (`stream.py`).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np

from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.reading.decode import CorruptImage, decode, describe, look
from raybench.data.reading.encoded import CHANNELS, Encoded
from raybench.data.transforms.views import View
from raybench.errors import UserError

OnCorrupt = Literal["refuse", "skip"]
PIECE = 16  # images that one task of the pool works through
SHOWN = 5  # corrupt files that an error names
CORRUPT = "are corrupt; repair them, or leave them out with data.on_corrupt: skip"


def decode_all(
    data: ImageData,
    view: View,
    *,
    on_corrupt: OnCorrupt = "refuse",
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    out: np.ndarray | None = None,
) -> tuple[ImageData, list[str]]:
    """Decode every image through `view`, into one uint8 array (N, size, size, 3); return the set and what was skipped.

    Args:
        on_corrupt: `refuse` raises one UserError after all were looked at; `skip` gives corrupt samples the part
            LEFT_OUT and black pixels, and returns their names.
        workers: threads; None for as many as this process may use.
        progress: called with the number of images that were done since the last call.
        out: where to write, of the right shape (a memory map, say); None for memory.

    Samples that are LEFT_OUT already are not read. Raises UserError for files that cannot be opened, in either case.
    """
    encoded = encoded_images(data)
    shape = (len(encoded), view.size, view.size, CHANNELS)
    if out is None:
        out = np.zeros(shape, dtype=np.uint8)
    if out.shape != shape or out.dtype != np.uint8:
        raise UserError(f"out should be uint8 {shape} for this view, found {out.dtype} {out.shape}")

    def put(i: int) -> None:
        out[i] = view.apply(decode(encoded.read(i), describe(encoded, i)))

    faults = work_through(np.flatnonzero(data.part != LEFT_OUT), put, workers=workers, progress=progress)
    out[data.part == LEFT_OUT] = 0
    out[list(faults)] = 0
    return leave_out(replace(data, images=out), faults, on_corrupt)


def inspect_all(
    data: ImageData,
    *,
    on_corrupt: OnCorrupt = "refuse",
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[ImageData, list[str]]:
    """Look at header and end of every encoded image (`decode.look`); return the set and what was skipped.

    The images stay encoded; otherwise as `decode_all`.
    """
    encoded = encoded_images(data)
    wanted = np.flatnonzero(data.part != LEFT_OUT)
    faults = work_through(wanted, lambda i: look(encoded, i), workers=workers, progress=progress)
    return leave_out(data, faults, on_corrupt)


def encoded_images(data: ImageData) -> Encoded:
    """Return the encoded images of a set, or say that it has none."""
    if not isinstance(data.images, Encoded):
        raise UserError(f"images are an array of {data.images.shape} already, there is nothing to decode")
    return data.images


def available_cpus() -> int:
    """Count the processors that this process may run on, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work_through(
    ids: np.ndarray,
    work: Callable[[int], None],
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[int, UserError]:
    """Call `work` with every id, in threads; return the ids at which it raised UserError, in order, with the error."""
    pieces = [ids[start : start + PIECE] for start in range(0, len(ids), PIECE)]

    def through(piece: np.ndarray) -> list[tuple[int, UserError]]:
        return list(faults_of(piece, work))

    faults: dict[int, UserError] = {}
    with ThreadPoolExecutor(workers or available_cpus(), thread_name_prefix="decode") as pool:
        try:
            for piece, found in zip(pieces, pool.map(through, pieces)):
                faults.update(found)
                if progress is not None:
                    progress(len(piece))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or Ctrl-C would wait for a million images
            raise
    return faults


def faults_of(piece: np.ndarray, work: Callable[[int], None]) -> Iterator[tuple[int, UserError]]:
    """Call `work` with each id; yield those at which it raised UserError."""
    for i in piece.tolist():
        try:
            work(i)
        except UserError as error:
            yield i, error


def leave_out(data: ImageData, faults: dict[int, UserError], on_corrupt: OnCorrupt) -> tuple[ImageData, list[str]]:
    """Take the faulty samples out of the set, or raise one UserError about all of them."""
    unreadable = {i: error for i, error in faults.items() if not isinstance(error, CorruptImage)}
    if unreadable:  # a missing file, or a disc that fails, is not for `skip` to hide
        raise UserError(summary(unreadable.values(), len(data.labels), "cannot be read"))
    if faults and on_corrupt == "refuse":
        raise UserError(summary(faults.values(), len(data.labels), CORRUPT))
    if not faults:
        return data, []
    part = data.part.copy()
    part[list(faults)] = LEFT_OUT
    return replace(data, part=part), [str(error) for error in faults.values()]


def summary(faults: Iterable[object], total: int, what: str) -> str:
    """Return one text about all faults; the first few are quoted."""
    texts = list(map(str, faults))
    quoted = "\n  ".join(texts[:SHOWN])
    rest = f"\n  and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return f"{len(texts)} of {total} images {what}:\n  {quoted}{rest}"
