"""A cache of large images, decoded and scaled down to a short side of a few hundred pixels, as raw pixels in one file.

Reading an image is one slice of a memory map, about six times as fast as decoding a 500 x 375 JPEG. Evaluation views
that scale to the same short side give identical pixels with and without the cache. Training crops do not: a small crop
of the scaled image is coarser than one of the original, which `StreamedSplit.exact` reports.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.reading.atomic_folder import write_folder
from raybench.data.reading.decode_dataset import available_cpus, encoded_images
from raybench.data.reading.decode_image import decode, describe
from raybench.data.reading.encoded import Encoded
from raybench.data.transforms.views import View, scale
from raybench.errors import UserError

FORMAT = 1
CHUNK = 256  # images in memory at once while the cache is written
PIXELS, INDEX, META = "pixels.bin", "index.npy", "meta.json"


class ShortSide:
    """The images of a cache that `cache` wrote; pickled as the path of its folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            meta = json.loads((self.folder / META).read_text())
            valid = meta["format"] == FORMAT
            self.short_side, self.fingerprint = int(meta["short_side"]), str(meta["fingerprint"])
            self.shrunk = bool(meta["shrunk"])  # whether any image was scaled down
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{str(folder)!r} is not a cache of images: {error}") from error
        if not valid:
            raise UserError(f"{self.folder / META}: not format {FORMAT} of a cache; delete the folder")

    def __reduce__(self) -> tuple[type["ShortSide"], tuple[str]]:
        return ShortSide, (str(self.folder),)

    def __len__(self) -> int:
        return len(self.index)

    @functools.cached_property
    def index(self) -> np.ndarray:
        """Return the offset, height and width of each image: (N, 3) int64."""
        return np.asarray(np.load(self.folder / INDEX, allow_pickle=False))

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """Return all pixels, a memory map of the file."""
        # copy-on-write because torch warns about tensors over read-only memory; nothing is written
        return np.asarray(np.memmap(self.folder / PIXELS, dtype=np.uint8, mode="c"))

    def image(self, i: int) -> np.ndarray:
        """Return image `i`, uint8 (H, W, 3), a slice of the memory map."""
        start, height, width = self.index[i].tolist()
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)

    def is_exact_for(self, view: View) -> bool:
        """Return whether the view of every cached image equals the view of the original, pixel by pixel."""
        return not self.shrunk or (view.fit == "crop" and (view.resize or view.size) == self.short_side)


def cache(
    data: ImageData,
    folder: str | Path,
    *,
    short_side: int,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ShortSide:
    """Decode every image, scale it so that the shorter side is at most `short_side`, and write all to `folder`.

    Scales as Pillow does, bilinear with antialiasing; smaller images keep their size, LEFT_OUT images are empty. The
    folder appears complete or not at all; an existing cache of the same images is opened instead. Takes about 260 kB
    per image of 341 x 256. `workers` and `progress` are those of `decode_dataset.decode_all`. Raises CorruptImage for
    the first image that cannot be decoded, and UserError if the folder contains anything else or cannot be written.
    """
    encoded, folder = encoded_images(data), Path(folder)
    fingerprint = fingerprint_of(encoded, data.part)

    def write_cache(partial: Path) -> None:
        shrunk = write(encoded, data.part != LEFT_OUT, partial, short_side, workers or available_cpus(), progress)
        meta = {"format": FORMAT, "fingerprint": fingerprint, "short_side": short_side, "shrunk": shrunk}
        (partial / META).write_text(json.dumps(meta))

    if not folder.exists():
        write_folder(folder, write_cache, content="the cache", is_complete=folder.is_dir)
    return open_cache(folder, fingerprint, short_side)


def write(
    encoded: Encoded,
    included: np.ndarray,
    folder: Path,
    short_side: int,
    workers: int,
    progress: Callable[[int], None] | None,
) -> bool:
    """Write pixels and index; return whether any image was scaled down."""

    def shrink(i: int) -> tuple[np.ndarray, bool]:
        if not included[i]:
            return np.empty((0, 0, 3), dtype=np.uint8), False
        image = decode(encoded.read(i), describe(encoded, i))
        if min(image.shape[:2]) <= short_side:
            return image, False
        size = View(size=short_side).scaled(*image.shape[:2])
        return np.ascontiguousarray(scale(torch.from_numpy(image), *size).numpy()), True

    index = np.zeros((len(encoded), 3), dtype=np.int64)
    offset, any_shrunk = 0, False
    with ThreadPoolExecutor(workers, thread_name_prefix="cache") as pool, open(folder / PIXELS, "wb") as file:
        for start in range(0, len(encoded), CHUNK):
            ids = range(start, min(start + CHUNK, len(encoded)))
            for i, (image, shrunk) in zip(ids, pool.map(shrink, ids)):
                index[i] = offset, *image.shape[:2]
                offset += file.write(image.data)
                any_shrunk |= shrunk
            if progress is not None:
                progress(len(ids))
    np.save(folder / INDEX, index, allow_pickle=False)
    return any_shrunk


def open_cache(folder: Path, fingerprint: str, short_side: int) -> ShortSide:
    """Open a cache; raise UserError for one of other images or of another size."""
    cached = ShortSide(folder)
    if (cached.fingerprint, cached.short_side) != (fingerprint, short_side):
        raise UserError(
            f"{str(folder)!r} caches other images, or another short side ({cached.short_side}); delete it or choose "
            "another folder"
        )
    return cached


def fingerprint_of(encoded: Encoded, part: np.ndarray) -> str:
    """Hash names and sizes of the files, and which samples are left out."""
    left_out = hashlib.blake2b((part == LEFT_OUT).tobytes(), digest_size=8).hexdigest()
    return f"{encoded.fingerprint(content=False)}-{left_out}"
