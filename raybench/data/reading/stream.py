"""Batches of images that are decoded again each time: for sets that do not fit into memory.

Everything random is drawn in the calling thread, in the order of the batches, and threads only carry it out, so the
pixels depend neither on how many threads there are nor on which is first.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from raybench.data.images import ImageData
from raybench.data.reading.decode import decode, describe
from raybench.data.reading.decoding import available_cpus, encoded_images
from raybench.data.reading.encoded import CHANNELS
from raybench.data.reading.short_side import ShortSide
from raybench.data.transforms.augment import Augment, Draws, finish, window
from raybench.data.transforms.normalize import Normalizer
from raybench.data.transforms.resized_crop import box
from raybench.data.transforms.views import View, scale
from raybench.errors import UserError

AHEAD = 1  # batches that are decoded while the one before is used
SHARES = 4  # pieces of a batch per thread, so that none waits long for the slowest


@dataclass
class Pending:
    """A batch that is being decoded."""

    places: np.ndarray
    pixels: Tensor  # (B, S, S, 3) uint8, filled by the futures
    draws: Draws | None
    futures: list[Future[None]]


class StreamedSplit:
    """The samples `ids` of a set of encoded images, in the order of `ids`; positions are places in `ids`.

    Without a generator a batch is the evaluation view, always the same. With one, `augment` is applied to it;
    `random_resized_crop` takes the place of the view: a part of the whole image is scaled once to the view's size.
    `cached` is read instead of decoding, for training, and for evaluation where the view is the same pixels.
    Files are opened and threads started at the first batch, so a split can be sent to another process.
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
        cached: ShortSide | None = None,
        workers: int | None = None,
    ) -> None:
        """`workers` are threads; None for as many as this process may use, shared by all its splits."""
        self.images = encoded_images(data)
        self.ids = np.asarray(ids, dtype=np.int64)
        if len(self.ids) and (self.ids.min() < 0 or self.ids.max() >= data.num_samples):
            raise UserError(
                f"ids run from {self.ids.min()} to {self.ids.max()}, but there are {data.num_samples} samples"
            )
        if cached is not None and len(cached) != data.num_samples:
            raise UserError(f"{cached.folder} caches {len(cached)} images, but there are {data.num_samples} samples")
        self.view = view
        self.device = torch.device(device)
        self.augment = Augment.parse(augment)
        self.augment.check_size(view.size, view.size)
        self.cached = cached
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
        """Say whether training sees the pixels that it would without the cache; evaluation always does."""
        if self.cached is None or not self.cached.shrunk:
            return True
        return not self.augment.resized_crop and self.cached.is_exact_for(self.view)

    def batch(self, positions: np.ndarray | Tensor, *, generator: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        """Return normalized images (B, 3, S, S) and their labels (int64 classes, or float32 (B, L) of 0 and 1).

        Draws come from the generator alone. Raises CorruptImage for an image that cannot be decoded.
        """
        return self.finished(self.begun(positions, generator))

    def batches(
        self, orders: Iterable[np.ndarray], *, generator: np.random.Generator | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of `orders`, equal to one call of `batch` for each; with threads, the next is decoded
        while the caller works with the one before.
        """
        waiting: deque[Pending] = deque()
        try:
            for positions in orders:
                waiting.append(self.begun(positions, generator))
                if len(waiting) > (AHEAD if self.workers > 1 else 0):
                    yield self.finished(waiting.popleft())
            while waiting:
                yield self.finished(waiting.popleft())
        finally:
            for pending in waiting:
                for future in pending.futures:
                    future.cancel()

    def begun(self, positions: np.ndarray | Tensor, generator: np.random.Generator | None) -> Pending:
        """Draw what a batch needs, and have it decoded."""
        places = np.asarray(positions.cpu() if isinstance(positions, Tensor) else positions, dtype=np.int64)
        n = len(places)
        draws = self.augment.draw(n, generator) if generator is not None and self.augment else None
        shape = (n, self.view.size, self.view.size, CHANNELS)
        if self.device.type == "cuda":
            pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        else:
            pixels = torch.from_numpy(np.empty(shape, dtype=np.uint8))  # in huge pages, as in `normalize`
        rows, ids = pixels.numpy(), self.ids[places].tolist()

        def fill(start: int, end: int) -> None:
            for k in range(start, end):
                rows[k] = self.image(ids[k], draws, k)

        if self.workers == 1:
            fill(0, n)
            return Pending(places, pixels, draws, [])
        size = -(-n // (self.workers * SHARES)) or 1
        submit = pool(os.getpid(), self.workers).submit
        futures = [submit(fill, start, min(start + size, n)) for start in range(0, n, size)]
        return Pending(places, pixels, draws, futures)

    def finished(self, pending: Pending) -> tuple[Tensor, Tensor]:
        """Wait for a batch, and do the rest on the device."""
        for future in pending.futures:
            future.result()
        pixels = pending.pixels.to(self.device, non_blocking=True)
        if pending.draws is not None:
            pixels = finish(pixels, pending.draws)
        return self.normalize(pixels), self.labels[torch.from_numpy(pending.places).to(self.device)]

    def image(self, i: int, draws: Draws | None, k: int) -> np.ndarray:
        """Return one image as the batch has it at place `k`: uint8 (S, S, 3)."""
        if draws is None:
            return self.view.apply(self.source(i, exactly=True))
        if draws.part is None:
            image = self.view.apply(self.source(i, exactly=False))
        else:
            whole = self.source(i, exactly=False)
            top, left, height, width = box(draws.part[k], *whole.shape[:2])
            part = torch.from_numpy(whole[top : top + height, left : left + width])
            image = scale(part, self.view.size, self.view.size).numpy()
        return window(image, draws, k, self.augment)

    def source(self, i: int, *, exactly: bool) -> np.ndarray:
        """Return a whole image (H, W, 3): decoded, or as it is cached."""
        if self.cached is not None and (not exactly or self.cached.is_exact_for(self.view)):
            return self.cached.image(i)
        return decode(self.images.read(i), describe(self.images, i))


@cache
def pool(process: int, workers: int) -> ThreadPoolExecutor:
    """Return the threads of this process; `process` is there because a fork does not take them along."""
    return ThreadPoolExecutor(workers, thread_name_prefix="decode")
