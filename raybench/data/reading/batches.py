"""Batches for training and evaluation, augmented and normalized as a whole instead of image by image.

A dataset that fits into memory is one uint8 array; a batch is one gather and one normalization over rows of pixels,
about forty times as fast as decoding, transforming and collating single images. Seeds and orders come from `order`.
"""

from collections.abc import Generator, Sequence, Sized
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from raybench.data.images import ImageData
from raybench.data.reading.ahead import Divisible, Pending, ahead_of, prepared, start
from raybench.data.reading.order import epoch_order, seed_for, worker_rows
from raybench.data.transforms.augment import Augment, Draws, Windows, finish, gather
from raybench.data.transforms.normalize import Normalizer
from raybench.data.transforms.resized_crop import resized, resized_crops
from raybench.errors import UserError

__all__ = ["Augment", "DatasetSplit", "ResidentSplit", "Split", "epoch_order", "iterate", "seed_for"]

WINDOW_BYTES_LIMIT = 2**30  # above this, windows take too much memory and pixels are gathered by index instead


class Split(Protocol):
    """The samples of one or more roles, as training and prediction read them."""

    ids: np.ndarray

    @property
    def labels(self) -> Tensor: ...

    def __len__(self) -> int: ...

    def batch(
        self, positions: np.ndarray | Tensor, *, generator: np.random.Generator | None
    ) -> tuple[Tensor, Tensor]: ...


class ResidentSplit:
    """The samples `ids` of an in-memory dataset, in the order of `ids`; positions index into `ids`.

    `channels=3` repeats a single channel. `resize` scales images to that size, without keeping the aspect ratio, before
    anything else, bilinear with antialiasing (a random resized crop is taken from the original image and scaled once).
    `augment` holds names for `Augment.parse`. On CUDA the pixels of this split are copied to the device once and
    processed there; on a CPU the array of `data` is read in place.
    """

    def __init__(
        self,
        data: ImageData,
        ids: np.ndarray,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        channels: int | None = None,
        resize: int | None = None,
        augment: Sequence[str] = (),
        channels_last: bool = False,
    ) -> None:
        image_channels = data.pixels.shape[3]
        if channels not in (None, image_channels) and (image_channels, channels) != (1, 3):
            raise UserError(
                f"channels is {channels}, but the images have {image_channels}; only 1 can be repeated, to 3"
            )
        if resize is not None and resize < 1:
            raise UserError(f"resize is {resize}; it should be the image size in pixels")
        self.ids = np.asarray(ids, dtype=np.int64)
        if len(self.ids) and (self.ids.min() < 0 or self.ids.max() >= data.num_samples):
            raise UserError(
                f"ids run from {self.ids.min()} to {self.ids.max()}, but there are {data.num_samples} samples"
            )
        self.device = torch.device(device)
        height, width = data.pixels.shape[1:3]
        self.resize = None if resize is None or (height, width) == (resize, resize) else resize
        self.size = (resize, resize) if resize else (height, width)
        self.augment = Augment.parse(augment)
        self.augment.check_size(*self.size)
        labels = torch.from_numpy(data.labels[self.ids]).to(self.device)
        self.labels = labels if data.task == "single" else labels.float()
        self.normalize = Normalizer(
            data.mean,
            data.std,
            width=self.size[1],
            device=self.device,
            dtype=dtype,
            channels=channels,
            channels_last=channels_last,
        )
        self.on_cpu = self.device.type == "cpu"
        self.images = data.pixels
        self.resident = None if self.on_cpu else torch.from_numpy(data.pixels[self.ids]).to(self.device)
        self.windows: Windows | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def batch(
        self,
        positions: np.ndarray | Tensor,
        *,
        generator: np.random.Generator | None,
        rows: np.ndarray | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return normalized images (B, C, H, W) and their labels (int64 classes, or float32 (B, L) of 0 and 1).

        Without a generator, return the evaluation view: no augmentation, deterministic. With one, all augmentation
        draws come from it, and the same draws give the same pixels on every device. Of a batch that several workers
        share, `rows` are those to return; the draws are those of the whole batch.
        """
        array, draws = self.augment.of_batch(positions, generator, rows)
        taken = torch.from_numpy(array).to(self.device)
        return self.normalize(self.pixels(array, taken, draws)), self.labels[taken]

    def draw(self, n: int, generator: np.random.Generator) -> Draws | None:
        """Draw the augmentation of `n` images; None if there is none."""
        return self.augment.draw(n, generator) if self.augment else None

    def pixels(self, positions: np.ndarray, rows: Tensor, draws: Draws | None) -> Tensor:
        """Gather uint8 images (B, H, W, C), resized and, with draws, augmented."""
        if draws is not None and self.gathers_windows():
            if self.windows is None:
                self.windows = Windows(self.images, self.ids, self.augment)
            return finish(torch.from_numpy(self.windows.gather(positions, draws)), draws)
        if self.resident is None:
            images = torch.from_numpy(np.take(self.images, self.ids[positions], axis=0))
        else:
            images = self.resident[rows]
        if draws is not None and draws.crop_uniforms is not None:
            images = resized_crops(images, draws.crop_uniforms, *self.size)
        elif self.resize is not None:
            images = resized(images, *self.size)
        if draws is None:
            return images
        if self.augment.moves:
            in_batch = torch.arange(len(positions), device=self.device)
            images = gather(images, in_batch, draws, self.augment)
        return finish(images, draws)

    def gathers_windows(self) -> bool:
        """Return whether crops and flips are gathered from a padded and mirrored copy."""
        plain = self.on_cpu and self.resize is None and self.augment.moves and not self.augment.resized_crop
        return plain and self.fits_in_windows()

    def fits_in_windows(self) -> bool:
        """Return whether that copy stays below the memory limit."""
        return Windows.size((len(self.ids), *self.images.shape[1:]), self.augment) <= WINDOW_BYTES_LIMIT


class DatasetSplit:
    """The samples of any map-style torch dataset of (x, y), x a float tensor; ids are positions.

    The dataset augments by itself. Its draws from torch's global generator are seeded per batch, from the generator
    argument in training and with a fixed seed in evaluation; torch's own random state is restored afterwards.
    """

    def __init__(
        self,
        dataset: "Dataset[tuple[Tensor, Tensor | int]]",
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        """`dtype` is the dtype of the model, to which images are cast; None keeps that of the dataset."""
        self.dataset = dataset
        self.device = torch.device(device)
        self.dtype = dtype
        if not isinstance(dataset, Sized):
            raise UserError(f"{type(dataset).__name__} has no length; give a map-style dataset, with __len__")
        self.ids = np.arange(len(dataset), dtype=np.int64)
        self.cached_labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> Tensor:
        """Read all labels on first use (this loads every sample)."""
        if self.cached_labels is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.cached_labels = stacked([self.dataset[int(i)][1] for i in self.ids]).to(self.device)
        return self.cached_labels

    def batch(
        self,
        positions: np.ndarray | Tensor,
        *,
        generator: np.random.Generator | None,
        rows: np.ndarray | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the images and labels of the samples at `positions`, or of the `rows` of them, on the device."""
        seed = 0 if generator is None else self.draw(len(positions), generator)
        if rows is not None:
            positions, seed = np.asarray(positions)[rows], seed_for("rows", seed, *rows[:1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            samples = [self.dataset[int(i)] for i in positions]
        x = torch.stack([x for x, _ in samples]).to(self.device, self.dtype)
        return x, stacked([y for _, y in samples]).to(self.device)

    def draw(self, n: int, generator: np.random.Generator) -> int:
        """Draw the seed of a batch."""
        return int(generator.integers(2**63))


def iterate(
    split: Split,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    first: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
    augment: bool = True,
) -> Generator[tuple[Tensor, Tensor]]:
    """Yield the batches of one epoch, from number `first` on: the same remaining batches as in a complete epoch.

    Order and augmentation depend on (seed, epoch). With several workers, `batch_size` is that of all together, and
    worker `rank` gets its `worker_rows` of every batch, with the pixels that a single worker sees.
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it should be at least 1")
    positions = epoch_order(len(split), seed=seed, epoch=epoch) if shuffle else np.arange(len(split))
    generator = np.random.default_rng(seed_for("augment", seed, epoch, 0)) if augment else None
    end = len(positions) - len(positions) % batch_size if drop_last else len(positions)
    orders = [positions[i : min(i + batch_size, end)] for i in range(0, end, batch_size)]
    if generator is not None and first:
        assert isinstance(split, Divisible)
        for order in orders[:first]:
            split.draw(len(order), generator)

    def begin(order: np.ndarray) -> list[Pending]:
        rows = worker_rows(len(order), rank=rank, world_size=world_size) if world_size > 1 else None
        return [start(split, order, generator=generator, rows=rows)]

    for _, (pair,) in prepared(orders[first:], begin, ahead=ahead_of(split)):
        yield pair


def stacked(labels: Sequence[Tensor | int]) -> Tensor:
    """Stack labels of a dataset: class ids to int64 (N,), label vectors to float32 (N, L)."""
    y = torch.stack([torch.as_tensor(label) for label in labels]) if len(labels) else torch.empty(0, dtype=torch.int64)
    return y.float() if y.ndim == 2 else y.long()
