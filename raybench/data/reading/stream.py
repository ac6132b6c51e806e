"""Batches of images that are decoded for every use: for datasets that do not fit into memory.

All random draws happen in the calling thread, in the order of the batches; threads only decode. So the pixels depend
neither on the number of threads nor on their timing.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from raybench.data.images import ImageData
from raybench.data.reading.ahead import AHEAD
from raybench.data.reading.decode_dataset import available_cpus, encoded_images
from raybench.data.reading.decode_image import decode, describe
from raybench.data.reading.encoded import CHANNELS
from raybench.data.reading.short_side import ShortSide
from raybench.data.transforms.augment import Augment, Draws, finish, window
from raybench.data.transforms.normalize import Normalizer
from raybench.data.transforms.resized_crop import box
from raybench.data.transforms.views import View, scale
from raybench.errors import UserError

CHUNKS_PER_THREAD = 4  # of a batch, so that no thread waits long for the slowest


@dataclass
class PendingBatch:
    """A batch that is being decoded."""

    split: "StreamedSplit"
    positions: np.ndarray
    pixels: Tensor  # (B, S, S, 3) uint8, written by the futures
    draws: Draws | None
    futures: list[Future[None]]

    def result(self) -> tuple[Tensor, Tensor]:
        """Wait for the batch to be decoded, then finish it on the device."""
        for future in self.futures:
            future.result()
        split = self.split
        pixels = self.pixels.to(split.device, non_blocking=True)
        if self.draws is not None:
            pixels = finish(pixels, self.draws)
        return split.normalize(pixels), split.labels[torch.from_numpy(self.positions).to(split.device)]

    def cancel(self) -> None:
        """Cancel what has not started and wait for what has."""
        for future in self.futures:
            future.cancel()
        wait(self.futures)


class StreamedSplit:
    """The samples `ids` of a dataset of encoded images, in the order of `ids`; positions index into `ids`.

    Without a generator, a batch is the evaluation view and deterministic. With one, `augment` is applied to the view;
    `random_resized_crop` replaces the view: a part of the original image is scaled once to the size of the view.
    `short_side_cache` is read instead of decoding in training, and in evaluation if the pixels are identical. Files are
    opened and threads started at the first batch, so a split can be sent to another process.
    """

    def __init__(
        self,
        data: ImageData,
        ids: np.ndarray,
        view: View,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        augment: Sequence[str] = (),
        channels_last: bool = False,
        short_side_cache: ShortSide | None = None,
        workers: int | None = None,
    ) -> None:
        """`workers` is the number of threads; None for as many as this process may use, shared by all its splits."""
        self.images = encoded_images(data)
        self.ids = np.asarray(ids, dtype=np.int64)
        if len(self.ids) and (self.ids.min() < 0 or self.ids.max() >= data.num_samples):
            raise UserError(
                f"ids run from {self.ids.min()} to {self.ids.max()}, but there are {data.num_samples} samples"
            )
        if short_side_cache is not None and len(short_side_cache) != data.num_samples:
            raise UserError(
                f"{short_side_cache.folder} caches {len(short_side_cache)} images, but there are {data.num_samples} "
                "samples"
            )
        self.view = view
        self.device = torch.device(device)
        self.augment = Augment.parse(augment)
        self.augment.check_size(view.size, view.size)
        self.short_side_cache = short_side_cache
        self.workers = workers or available_cpus()
        labels = torch.from_numpy(data.labels[self.ids]).to(self.device)
        self.labels = labels if data.task == "single" else labels.float()
        self.normalize = Normalizer(
            data.mean, data.std, width=view.size, device=self.device, dtype=dtype, channels_last=channels_last
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def exact(self) -> bool:
        """Return whether training reads the same pixels as without the cache; evaluation always does."""
        if self.short_side_cache is None or not self.short_side_cache.shrunk:
            return True
        return not self.augment.resized_crop and self.short_side_cache.is_exact_for(self.view)

    @property
    def ahead(self) -> int:
        """Return how many batches to decode in advance; with one thread none, since it would only be late."""
        return AHEAD if self.workers > 1 else 0

    def batch(
        self,
        positions: np.ndarray | Tensor,
        *,
        generator: np.random.Generator | None,
        rows: np.ndarray | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return normalized images (B, 3, S, S) and their labels (int64 classes, or float32 (B, L) of 0 and 1).

        Draws come from the generator only. Of a batch that several workers share, `rows` are those to return. Raises
        CorruptImage for an image that cannot be decoded.
        """
        return self.start(positions, generator=generator, rows=rows).result()

    def draw(self, n: int, generator: np.random.Generator) -> Draws | None:
        """Draw the augmentation of `n` images; None if there is none."""
        return self.augment.draw(n, generator) if self.augment else None

    def start(
        self,
        positions: np.ndarray | Tensor,
        *,
        generator: np.random.Generator | None,
        rows: np.ndarray | None = None,
    ) -> PendingBatch:
        """Draw the augmentation of a batch and start decoding it."""
        array, draws = self.augment.of_batch(positions, generator, rows)
        n = len(array)
        shape = (n, self.view.size, self.view.size, CHANNELS)
        if self.device.type == "cuda":
            pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        else:
            pixels = torch.from_numpy(np.empty(shape, dtype=np.uint8))  # uses huge pages, see `normalize`
        images, ids = pixels.numpy(), self.ids[array].tolist()

        def fill(start: int, end: int) -> None:
            for k in range(start, end):
                images[k] = self.image(ids[k], draws, k)

        if self.workers == 1:
            fill(0, n)
            return PendingBatch(self, array, pixels, draws, [])
        size = -(-n // (self.workers * CHUNKS_PER_THREAD)) or 1
        submit = pool(os.getpid(), self.workers).submit
        futures = [submit(fill, start, min(start + size, n)) for start in range(0, n, size)]
        return PendingBatch(self, array, pixels, draws, futures)

    def image(self, i: int, draws: Draws | None, k: int) -> np.ndarray:
        """Return one image as it appears at position `k` of the batch: uint8 (S, S, 3)."""
        if draws is None:
            return self.view.apply(self.source(i, exactly=True))
        if draws.crop_uniforms is None:
            image = self.view.apply(self.source(i, exactly=False))
        else:
            original = self.source(i, exactly=False)
            top, left, height, width = box(draws.crop_uniforms[k], *original.shape[:2])
            crop = torch.from_numpy(original[top : top + height, left : left + width])
            image = scale(crop, self.view.size, self.view.size).numpy()
        return window(image, draws, k, self.augment)

    def source(self, i: int, *, exactly: bool) -> np.ndarray:
        """Return an original image (H, W, 3): decoded, or from the cache."""
        if self.short_side_cache is not None and (not exactly or self.short_side_cache.is_exact_for(self.view)):
            return self.short_side_cache.image(i)
        return decode(self.images.read(i), describe(self.images, i))


@cache
def pool(process: int, workers: int) -> ThreadPoolExecutor:
    """Return the threads of this process; `process` is part of the key because a fork does not inherit threads."""
    return ThreadPoolExecutor(workers, thread_name_prefix="decode")
