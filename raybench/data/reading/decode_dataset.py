"""Decode or check all images of a dataset in threads, and report every corrupt file by name.

A dataset that fits into memory is decoded to its view as one uint8 array, and is then as fast as any small dataset. A
larger one is only checked here and decoded batch by batch (`stream.py`).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np

from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.reading.decode_image import CorruptImage, check_file, decode, describe
from raybench.data.reading.encoded import CHANNELS, Encoded
from raybench.data.transforms.views import View
from raybench.errors import UserError

OnCorrupt = Literal["refuse", "skip"]
CHUNK = 16  # images per task of the thread pool
NUM_QUOTED = 5  # errors that a message quotes
CORRUPT = "are corrupt; repair them, or exclude them with data.on_corrupt: skip"


def decode_all(
    data: ImageData,
    view: View,
    *,
    on_corrupt: OnCorrupt = "refuse",
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    out: np.ndarray | None = None,
) -> tuple[ImageData, list[str]]:
    """Decode every image through `view` into one uint8 array (N, size, size, 3); return the dataset and the skipped
    names.

        Args:
            on_corrupt: `refuse` raises one UserError after all images were decoded; `skip` marks corrupt samples as
                LEFT_OUT, with black pixels, and returns their names.
            workers: number of threads; None for as many as this process may use.
            progress: called with the number of images that were finished since the last call.
            out: array to write to, of the right shape (a memory map, for example); None to allocate one.

    Samples that are already LEFT_OUT are not read. Raises UserError for files that cannot be opened in either case.
    """
    encoded = encoded_images(data)
    shape = (len(encoded), view.size, view.size, CHANNELS)
    if out is None:
        out = np.zeros(shape, dtype=np.uint8)
    if out.shape != shape or out.dtype != np.uint8:
        raise UserError(f"out should be uint8 {shape} for this view, found {out.dtype} {out.shape}")

    def decode_into_out(i: int) -> None:
        out[i] = view.apply(decode(encoded.read(i), describe(encoded, i)))

    included = np.flatnonzero(data.part != LEFT_OUT)
    errors = run_in_threads(included, decode_into_out, workers=workers, progress=progress)
    out[data.part == LEFT_OUT] = 0
    out[list(errors)] = 0
    return leave_out(replace(data, images=out), errors, on_corrupt)


def check_all(
    data: ImageData,
    *,
    on_corrupt: OnCorrupt = "refuse",
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[ImageData, list[str]]:
    """Check the header and the end of every encoded image (`check_file`); return the dataset and the skipped names.

    The images stay encoded; the arguments are those of `decode_all`.
    """
    encoded = encoded_images(data)
    included = np.flatnonzero(data.part != LEFT_OUT)
    errors = run_in_threads(included, lambda i: check_file(encoded, i), workers=workers, progress=progress)
    return leave_out(data, errors, on_corrupt)


def encoded_images(data: ImageData) -> Encoded:
    """Return the encoded images of a dataset; raise UserError for a dataset that is already an array."""
    if not isinstance(data.images, Encoded):
        raise UserError(f"images are already an array of shape {data.images.shape}; there is nothing to decode")
    return data.images


def available_cpus() -> int:
    """Return the number of CPUs that this process may use; in a container, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_threads(
    ids: np.ndarray,
    work: Callable[[int], None],
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[int, UserError]:
    """Call `work` with every id, in threads; return {id: error} for ids that raised UserError, in order."""
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]

    def work_on_chunk(chunk: np.ndarray) -> dict[int, UserError]:
        return dict(errors_of(chunk, work))

    errors: dict[int, UserError] = {}
    with ThreadPoolExecutor(workers or available_cpus(), thread_name_prefix="decode") as pool:
        try:
            for chunk, chunk_errors in zip(chunks, pool.map(work_on_chunk, chunks)):
                errors.update(chunk_errors)
                if progress is not None:
                    progress(len(chunk))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # otherwise Ctrl-C waits for a million images
            raise
    return errors


def errors_of(ids: np.ndarray, work: Callable[[int], None]) -> Iterator[tuple[int, UserError]]:
    """Call `work` with each id; yield the ids that raised UserError, with the error."""
    for i in ids.tolist():
        try:
            work(i)
        except UserError as error:
            yield i, error


def leave_out(data: ImageData, errors: dict[int, UserError], on_corrupt: OnCorrupt) -> tuple[ImageData, list[str]]:
    """Mark the failed samples as LEFT_OUT, or raise one UserError about all of them."""
    unreadable = {i: error for i, error in errors.items() if not isinstance(error, CorruptImage)}
    if unreadable:  # `skip` must not hide a missing file or a failing disk
        raise UserError(summarize(unreadable.values(), len(data.labels), "cannot be read"))
    if errors and on_corrupt == "refuse":
        raise UserError(summarize(errors.values(), len(data.labels), CORRUPT))
    if not errors:
        return data, []
    part = data.part.copy()
    part[list(errors)] = LEFT_OUT
    return replace(data, part=part), [str(error) for error in errors.values()]


def summarize(errors: Iterable[object], total: int, problem: str) -> str:
    """Return one message about all errors that quotes the first few."""
    texts = list(map(str, errors))
    quoted = "\n  ".join(texts[:NUM_QUOTED])
    rest = f"\n  and {len(texts) - NUM_QUOTED} more" if len(texts) > NUM_QUOTED else ""
    return f"{len(texts)} of {total} images {problem}:\n  {quoted}{rest}"
