"""A cache of large images, decoded and scaled down so that the shorter side is short: raw pixels in one flat file.

Reading an image is then one slice of a memory map, some six times the speed of decoding a 500 x 375 JPEG. Evaluation
views that scale to that side anyway are the same pixels as without the cache. Training crops are not: a small one is
cut out of the scaled image and so is coarser than one cut out of the whole, which `StreamedSplit.exact` says.
"""

import functools
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.reading.decode import decode, describe
from raybench.data.reading.decoding import available_cpus, encoded_images
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.resident import remove_stale
from raybench.data.transforms.views import View, scale
from raybench.errors import UserError

FORMAT = 1
CHUNK = 256  # images that are in memory at once while the cache is written
PIXELS, INDEX, META = "pixels.bin", "index.npy", "meta.json"


class ShortSide:
    """The images of a cache that `cache` wrote; it travels between processes as the name of its folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            meta = json.loads((self.folder / META).read_text())
            known = meta["format"] == FORMAT
            self.short_side, self.fingerprint = int(meta["short_side"]), str(meta["fingerprint"])
            self.shrunk = bool(meta["shrunk"])  # whether any image was larger
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{str(folder)!r} is not a cache of images: {error}") from error
        if not known:
            raise UserError(f"{self.folder / META}: not format {FORMAT} of a cache; delete the folder")

    def __reduce__(self) -> tuple[type["ShortSide"], tuple[str]]:
        return ShortSide, (str(self.folder),)

    def __len__(self) -> int:
        return len(self.index)

    @functools.cached_property
    def index(self) -> np.ndarray:
        """Return where each image begins, its height and its width: (N, 3) int64."""
        return np.load(self.folder / INDEX, allow_pickle=False)

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """Return all pixels, a map of the file."""
        # copy-on-write, since torch warns of tensors over memory that cannot be written; nothing is written
        return np.asarray(np.memmap(self.folder / PIXELS, dtype=np.uint8, mode="c"))

    def image(self, i: int) -> np.ndarray:
        """Return image `i`, uint8 (H, W, 3), a slice of the memory map."""
        start, height, width = self.index[i].tolist()
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)

    def is_exact_for(self, view: View) -> bool:
        """Say whether the view of a cached image is the view of the image itself, pixel by pixel."""
        return not self.shrunk or (view.fit == "crop" and (view.resize or view.size) == self.short_side)


def cache(
    data: ImageData,
    folder: str | Path,
    *,
    short_side: int,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ShortSide:
    """Decode every image, scale it so that the shorter side is at most `short_side`, and write all into `folder`.

    Scaled as Pillow does, bilinear with antialiasing; smaller images stay as they are, those LEFT_OUT are empty. The
    folder appears complete or not at all, and is opened where it holds the same images already. Takes about 260 kB an
    image of 341 x 256. `workers` and `progress` are those of `decoding.decode_all`. Raises CorruptImage for the first
    image that cannot be decoded, and UserError where the folder holds anything else or cannot be written.
    """
    encoded, folder = encoded_images(data), Path(folder)
    fingerprint = fingerprint_of(encoded, data.part)
    if folder.exists():
        return opened(folder, fingerprint, short_side)
    partial = folder.with_name(f".{folder.name}.partial-{uuid.uuid4().hex}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(folder)
        partial.mkdir()
        shrunk = write(encoded, data.part != LEFT_OUT, partial, short_side, workers or available_cpus(), progress)
        meta = {"format": FORMAT, "fingerprint": fingerprint, "short_side": short_side, "shrunk": shrunk}
        (partial / META).write_text(json.dumps(meta))
        try:
            os.rename(partial, folder)
        except OSError:
            if not folder.is_dir():  # else another process finished the same images first
                raise
    except OSError as error:
        raise UserError(f"cannot write the cache {str(folder)!r}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return opened(folder, fingerprint, short_side)


def write(
    encoded: Encoded,
    wanted: np.ndarray,
    folder: Path,
    short_side: int,
    workers: int,
    progress: Callable[[int], None] | None,
) -> bool:
    """Write pixels and index; return whether any image was scaled down."""

    def shrink(i: int) -> tuple[np.ndarray, bool]:
        if not wanted[i]:
            return np.empty((0, 0, 3), dtype=np.uint8), False
        image = decode(encoded.read(i), describe(encoded, i))
        if min(image.shape[:2]) <= short_side:
            return image, False
        size = View(size=short_side).scaled(*image.shape[:2])
        return np.ascontiguousarray(scale(torch.from_numpy(image), *size).numpy()), True

    index = np.zeros((len(encoded), 3), dtype=np.int64)
    place, any_shrunk = 0, False
    with ThreadPoolExecutor(workers, thread_name_prefix="cache") as pool, open(folder / PIXELS, "wb") as file:
        for start in range(0, len(encoded), CHUNK):
            ids = range(start, min(start + CHUNK, len(encoded)))
            for i, (image, shrunk) in zip(ids, pool.map(shrink, ids)):
                index[i] = place, *image.shape[:2]
                place += file.write(image.data)
                any_shrunk |= shrunk
            if progress is not None:
                progress(len(ids))
    np.save(folder / INDEX, index, allow_pickle=False)
    return any_shrunk


def opened(folder: Path, fingerprint: str, short_side: int) -> ShortSide:
    """Open a cache, refusing one of other images or of another size."""
    found = ShortSide(folder)
    if (found.fingerprint, found.short_side) != (fingerprint, short_side):
        raise UserError(
            f"{str(folder)!r} caches other images, or another short side ({found.short_side}); delete it, or choose "
            "another folder"
        )
    return found


def fingerprint_of(encoded: Encoded, part: np.ndarray) -> str:
    """Hash names and sizes of the files, and which samples are left out."""
    left_out = hashlib.blake2b((part == LEFT_OUT).tobytes(), digest_size=8).hexdigest()
    return f"{encoded.fingerprint(content=False)}-{left_out}"
