"""Random crops and flips of whole batches of uint8 images, as exact copies of pixels: no image is handled on its own.

Two ways give the same pixels from the same draws: one gather over a sliding-window view of a padded and mirrored copy
(fastest on a CPU, costs that copy), and one gather by index arithmetic (any device, no copy).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from raybench.errors import UserError, unknown

PADDING = 4
CHUNK = 4096
NAMES = ("crop", "crop_reflect", "flip")


@dataclass(frozen=True)
class Draws:
    """What was drawn for a batch: where each window starts in the padded image, and whether it is then mirrored."""

    top: np.ndarray  # (B,) int64, 0 to 2 * padding
    left: np.ndarray  # (B,) int64
    flip: np.ndarray  # (B,) int64, 0 or 1


@dataclass(frozen=True)
class Augment:
    """The training augmentation of an experiment, e.g. Augment.parse(["crop", "flip"])."""

    padding: int = 0
    border: Literal["zeros", "reflect"] = "zeros"
    flip: bool = False

    @classmethod
    def parse(cls, names: Sequence[str]) -> "Augment":
        """Read a list of names: `crop` (padded by 4 with zeros) or `crop_reflect` (with the mirrored border), `flip`.

        A crop is taken first, then mirrored; raises UserError for an unknown name.
        """
        for name in names:
            if name not in NAMES:
                raise unknown("augmentation", name, NAMES)
        if "crop" in names and "crop_reflect" in names:
            raise UserError("augment: give crop or crop_reflect, not both")
        padding = PADDING if {"crop", "crop_reflect"} & set(names) else 0
        return cls(padding, "reflect" if "crop_reflect" in names else "zeros", "flip" in names)

    def __bool__(self) -> bool:
        return self.flip or self.padding > 0

    def draw(self, n: int, generator: np.random.Generator) -> Draws:
        """Draw windows and flips for `n` images, uniform and independent."""
        top = generator.integers(0, 2 * self.padding + 1, n)
        left = generator.integers(0, 2 * self.padding + 1, n)
        return Draws(top, left, generator.integers(0, 2, n) if self.flip else np.zeros(n, dtype=np.int64))


def gather(images: Tensor, rows: Tensor, draws: Draws, augment: Augment) -> Tensor:
    """Take augmented `rows` (B,) of uint8 `images` (N, H, W, C) on any device: (B, H, W, C)."""
    height, width = images.shape[1:3]
    device = images.device
    y = torch.from_numpy(draws.top).to(device)[:, None] + torch.arange(height, device=device) - augment.padding
    x = torch.from_numpy(draws.left).to(device)[:, None] + torch.arange(width, device=device) - augment.padding
    x = torch.where(torch.from_numpy(draws.flip).to(device)[:, None] == 1, x.flip(1), x)
    if augment.border == "reflect":
        y, x = reflect(y, height), reflect(x, width)
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    pixels = images[rows[:, None, None], y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]]
    return pixels * inside[..., None]


def reflect(index: Tensor, size: int) -> Tensor:
    """Mirror indices that lie outside 0..size-1 at the border, the border pixel itself not repeated."""
    return size - 1 - (size - 1 - index.abs()).abs()


class Windows:
    """A padded and mirrored uint8 copy of images[ids], (N, H, W, C), of which any augmented batch is one gather.

    Costs N (H + 8) (W + 8) C bytes for crops, twice that with flips (480 MB for the 50,000 of CIFAR-10).
    """

    def __init__(self, images: np.ndarray, ids: np.ndarray, augment: Augment) -> None:
        height, width, channels = images.shape[1:]
        p = augment.padding
        mode: Literal["reflect", "constant"] = "reflect" if augment.border == "reflect" else "constant"
        padded = np.empty((1 + augment.flip, len(ids), height + 2 * p, width + 2 * p, channels), dtype=np.uint8)
        for start in range(0, len(ids), CHUNK):  # in pieces, so that building takes little more than the result
            chosen = slice(start, start + CHUNK)
            padded[0, chosen] = np.pad(images[ids[chosen]], ((0, 0), (p, p), (p, p), (0, 0)), mode=mode)
        if augment.flip:
            padded[1] = padded[0, :, :, ::-1]
        # Pixels and channels are one axis, so that numpy copies whole image rows and not single pixels.
        pixels = padded.reshape(*padded.shape[:3], (width + 2 * p) * channels)
        view = np.lib.stride_tricks.sliding_window_view(pixels, (height, width * channels), axis=(2, 3))
        self.windows = view[:, :, :, ::channels]  # (2, N, 2p + 1, 2p + 1, H, W * C)
        self.shape = (height, width, channels)
        self.span = 2 * p

    @staticmethod
    def size(shape: tuple[int, ...], augment: Augment) -> int:
        """Return the bytes that windows over images of `shape` (N, H, W, C) take."""
        n, height, width, channels = shape
        return n * (height + 2 * augment.padding) * (width + 2 * augment.padding) * channels * (1 + augment.flip)

    def gather(self, rows: np.ndarray, draws: Draws) -> np.ndarray:
        """Take the augmented `rows` (B,): uint8 (B, H, W, C), equal to what the function `gather` returns."""
        left = np.where(draws.flip == 1, self.span - draws.left, draws.left)
        return self.windows[draws.flip, rows, draws.top, left].reshape(len(rows), *self.shape)
