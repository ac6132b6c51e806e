"""Affine transforms of batches, nearest neighbor, in Pillow's fixed-point arithmetic, so that all devices agree
exactly.

A transform is six numbers (a, b, c, d, e, f) per image: the output pixel at (x, y) is read from the point (a x + b y +
c, d x + e y + f) of the image, with pixel centers at half-integers, and is black outside the image.
"""

import numpy as np
import torch
from torch import Tensor

SHEAR_DEGREES = 10.0
SCALE = (0.8, 1.2)
ONE = 1 << 16


def draw(n: int, generator: np.random.Generator) -> np.ndarray:
    """Draw scale and shear (degrees) of `n` images: (n, 2) float64."""
    return np.stack([generator.uniform(*SCALE, n), generator.uniform(-SHEAR_DEGREES, SHEAR_DEGREES, n)], axis=1)


def shears_and_scales(drawn: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the transforms (n, 6) that scale images and shear them along x, about their center."""
    scale, tangent = drawn[:, 0], np.tan(np.radians(drawn[:, 1]))
    x, y, zero = width / 2, height / 2, np.zeros(len(drawn))
    a, b = 1 / scale, tangent / scale
    return np.stack([a, b, a * -x + b * -y + x, zero, a, a * -y + y], axis=1)


def move(pixels: Tensor, maps: np.ndarray) -> Tensor:
    """Transform each of `pixels` (B, H, W, C) by its row of `maps` (B, 6); pixels from outside the image are 0.

    Equal to `Image.transform(size, AFFINE, map, NEAREST)`, the default of torchvision's RandomAffine and AutoAugment.
    """
    n, height, width, channels = pixels.shape
    a, b, c, d, e, f = maps.T
    fixed = np.stack([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5])
    steps = torch.from_numpy(np.floor(fixed * ONE + 0.5).astype(np.int64)).to(pixels.device)[:, :, None, None]
    x = torch.arange(width, device=pixels.device)
    y = torch.arange(height, device=pixels.device)[:, None]
    column = (steps[2] + steps[1] * y + steps[0] * x) >> 16  # (B, H, W)
    row = (steps[5] + steps[4] * y + steps[3] * x) >> 16
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    image = torch.arange(n, device=pixels.device)[:, None, None]
    place = ((image * height + row.clamp_(0, height - 1)) * width + column.clamp_(0, width - 1)).reshape(-1)
    moved = pixels.reshape(-1, channels).index_select(0, place).reshape(n, height, width, channels)
    return moved * inside[..., None]
