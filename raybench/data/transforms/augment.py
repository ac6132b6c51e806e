"""Training augmentation of whole batches of uint8 images.

The operations are applied in the order of the reference implementations, regardless of the order of their names:

    crop, crop_reflect or random_resized_crop; flip; affine; jitter; grayscale; autoaugment

All draws come from one numpy generator, and the same draws give the same pixels on every device, except that the
scaling of random_resized_crop may differ by one level. Crops and flips copy pixels exactly, in one of three equivalent
ways: a gather over a sliding-window view of a padded and mirrored copy (fastest on a CPU, needs memory for the copy), a
gather by index arithmetic (any device, no copy), or image by image (for images that come from a decoder).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from raybench.data.transforms import affine, autoaugment, color, resized_crop
from raybench.errors import UserError, unknown

PADDING = 4
CHUNK = 4096
Name = Literal["crop", "crop_reflect", "random_resized_crop", "flip", "affine", "jitter", "grayscale", "autoaugment"]
NAMES: tuple[str, ...] = get_args(Name)
CROPS = ("crop", "crop_reflect", "random_resized_crop")  # mutually exclusive


@dataclass(frozen=True)
class Draws:
    """The random draws of a batch; None for an augmentation that is off."""

    top: np.ndarray  # (B,) int64, 0 to 2 * padding: where each window starts in the padded image
    left: np.ndarray  # (B,) int64
    flip: np.ndarray  # (B,) int64, 0 or 1: whether it is then mirrored
    crop_uniforms: np.ndarray | None = None  # (B, 22): random_resized_crop
    affine: np.ndarray | None = None  # (B, 2): scale, shear
    jitter: tuple[np.ndarray, np.ndarray] | None = None  # (B, 3) factors, (B, 3) order
    gray: np.ndarray | None = None  # (B,) bool
    policy: autoaugment.Choices | None = None

    def take(self, rows: np.ndarray) -> "Draws":
        """Return the draws of some images of the batch."""
        return Draws(
            top=self.top[rows],
            left=self.left[rows],
            flip=self.flip[rows],
            crop_uniforms=None if self.crop_uniforms is None else self.crop_uniforms[rows],
            affine=None if self.affine is None else self.affine[rows],
            jitter=None if self.jitter is None else (self.jitter[0][rows], self.jitter[1][rows]),
            gray=None if self.gray is None else self.gray[rows],
            policy=None if self.policy is None else self.policy.take(rows),
        )


@dataclass(frozen=True)
class Augment:
    """The training augmentation of an experiment, for example Augment.parse(["crop", "flip"])."""

    padding: int = 0
    border: Literal["zeros", "reflect"] = "zeros"
    flip: bool = False
    resized_crop: bool = False
    affine: bool = False
    jitter: bool = False
    grayscale: bool = False
    autoaugment: bool = False

    @classmethod
    def parse(cls, names: Sequence[str]) -> "Augment":
        """Build the augmentation from a list of names, in any order.

        - crop: random crop after padding by 4 with zeros; crop_reflect: after padding with the mirrored border
        - random_resized_crop: 8 to 100 % of the area, aspect ratio 3/4 to 4/3, scaled to the size of the view
        - flip: horizontally, with probability 0.5
        - affine: shear by up to 10 degrees along x and scale by 0.8 to 1.2, nearest neighbor, black outside
        - jitter: brightness, contrast and saturation by up to 20 %, in random order
        - grayscale: with probability 0.1
        - autoaugment: the policy for CIFAR-10

        Raises UserError for an unknown or repeated name, and for two crops.
        """
        for name in names:
            if name not in NAMES:
                raise unknown("augmentation", name, NAMES)
            if list(names).count(name) > 1:
                raise UserError(f"augment: {name} is listed twice; each is applied once")
        crops = [name for name in CROPS if name in names]
        if len(crops) > 1:
            raise UserError(f"augment: use {' or '.join(crops)}, not both")
        return cls(
            padding=PADDING if {"crop", "crop_reflect"} & set(crops) else 0,
            border="reflect" if "crop_reflect" in crops else "zeros",
            flip="flip" in names,
            resized_crop="random_resized_crop" in crops,
            affine="affine" in names,
            jitter="jitter" in names,
            grayscale="grayscale" in names,
            autoaugment="autoaugment" in names,
        )

    def __bool__(self) -> bool:
        return self != Augment()

    @property
    def moves(self) -> bool:
        """Return whether pixels move by whole numbers: a padded crop or a flip."""
        return self.flip or self.padding > 0

    def check_size(self, height: int, width: int) -> None:
        """Raise UserError if images of this size cannot be augmented."""
        if self.border == "reflect" and self.padding >= min(height, width):
            raise UserError(f"crop_reflect needs images larger than {self.padding} x {self.padding} pixels")

    def of_batch(
        self, positions: np.ndarray | Tensor, generator: np.random.Generator | None, rows: np.ndarray | None
    ) -> tuple[np.ndarray, Draws | None]:
        """Return the positions of a batch, or of `rows` of it, and their draws; the draws are those of the whole batch.

        None without a generator (the evaluation view) and without an augmentation.
        """
        array = np.asarray(positions.cpu() if isinstance(positions, Tensor) else positions, dtype=np.int64)
        draws = self.draw(len(array), generator) if generator is not None and self else None
        if rows is None:
            return array, draws
        return array[rows], None if draws is None else draws.take(rows)

    def draw(self, n: int, generator: np.random.Generator) -> Draws:
        """Draw the augmentation of `n` images, uniform and independent."""
        top = generator.integers(0, 2 * self.padding + 1, n)
        left = generator.integers(0, 2 * self.padding + 1, n)
        return Draws(
            top=top,
            left=left,
            flip=generator.integers(0, 2, n) if self.flip else np.zeros(n, dtype=np.int64),
            crop_uniforms=resized_crop.draw(n, generator) if self.resized_crop else None,
            affine=affine.draw(n, generator) if self.affine else None,
            jitter=color.draw_jitter(n, generator) if self.jitter else None,
            gray=generator.random(n) < color.GRAY_PROBABILITY if self.grayscale else None,
            policy=autoaugment.draw(n, generator) if self.autoaugment else None,
        )


def finish(pixels: Tensor, draws: Draws) -> Tensor:
    """Apply the operations after crop and flip to uint8 `pixels` (B, H, W, C), on any device."""
    if draws.affine is not None:
        pixels = affine.move(pixels, affine.shears_and_scales(draws.affine, *pixels.shape[1:3]))
    if draws.jitter is not None:
        pixels = color.jitter(pixels, *draws.jitter)
    if draws.gray is not None:
        pixels = color.changed(pixels, draws.gray, lambda selected, _: color.grayscale(selected), draws.gray)
    if draws.policy is not None:
        pixels = autoaugment.autoaugment(pixels, draws.policy)
    return pixels


def window(image: np.ndarray, draws: Draws, k: int, augment: Augment) -> np.ndarray:
    """Return image (H, W, C), cropped and flipped by the draws at position `k`; equal to what `gather` returns."""
    height, width = image.shape[:2]
    p = augment.padding
    if p:
        padded = np.pad(image, ((p, p), (p, p), (0, 0)), mode="reflect" if augment.border == "reflect" else "constant")
        image = padded[draws.top[k] :, draws.left[k] :][:height, :width]
    # torch mirrors pixels of three bytes faster than numpy
    return torch.from_numpy(image).flip(1).numpy() if draws.flip[k] else image


def gather(images: Tensor, rows: Tensor, draws: Draws, augment: Augment) -> Tensor:
    """Gather augmented `rows` (B,) of uint8 `images` (N, H, W, C) on any device: (B, H, W, C)."""
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
    """Mirror indices outside 0..size-1 at the border, without repeating the border pixel."""
    return size - 1 - (size - 1 - index.abs()).abs()


class Windows:
    """A padded and mirrored uint8 copy of images[ids], (N, H, W, C); any augmented batch is one gather from it.

    Takes N (H + 8) (W + 8) C bytes for crops, twice that with flips (480 MB for the 50,000 of CIFAR-10).
    """

    def __init__(self, images: np.ndarray, ids: np.ndarray, augment: Augment) -> None:
        height, width, channels = images.shape[1:]
        p = augment.padding
        mode: Literal["reflect", "constant"] = "reflect" if augment.border == "reflect" else "constant"
        padded = np.empty((1 + augment.flip, len(ids), height + 2 * p, width + 2 * p, channels), dtype=np.uint8)
        for start in range(0, len(ids), CHUNK):  # in chunks, so that the peak memory is little more than the result
            chunk = slice(start, start + CHUNK)
            padded[0, chunk] = np.pad(images[ids[chunk]], ((0, 0), (p, p), (p, p), (0, 0)), mode=mode)
        if augment.flip:
            padded[1] = padded[0, :, :, ::-1]
        # Pixels and channels form one axis, so that numpy copies image rows instead of single pixels.
        pixels = padded.reshape(*padded.shape[:3], (width + 2 * p) * channels)
        view = np.lib.stride_tricks.sliding_window_view(pixels, (height, width * channels), axis=(2, 3))
        self.windows = view[:, :, :, ::channels]  # (2, N, 2p + 1, 2p + 1, H, W * C)
        self.shape = (height, width, channels)
        self.span = 2 * p

    @staticmethod
    def size(shape: tuple[int, ...], augment: Augment) -> int:
        """Return the memory in bytes of windows over images of `shape` (N, H, W, C)."""
        n, height, width, channels = shape
        return n * (height + 2 * augment.padding) * (width + 2 * augment.padding) * channels * (1 + augment.flip)

    def gather(self, rows: np.ndarray, draws: Draws) -> np.ndarray:
        """Gather the augmented `rows` (B,): uint8 (B, H, W, C), equal to the function `gather`."""
        left = np.where(draws.flip == 1, self.span - draws.left, draws.left)
        images: np.ndarray = self.windows[draws.flip, rows, draws.top, left]
        return images.reshape(len(rows), *self.shape)
