"""Color operations on whole batches of uint8 images, each exactly equal to Pillow's.

The reference implementations train with torchvision on Pillow images. Integer arithmetic is used where Pillow rounds,
and float32 where it blends in float32, so the pixels are the same on every device.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Change = Callable[[Tensor, np.ndarray], Tensor]  # images (B, H, W, C) and one number per image, to images

STRENGTH = 0.2
GRAY_PROBABILITY = 0.1
BRIGHTNESS, CONTRAST, SATURATION = range(3)


def draw_jitter(n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw factors (n, 3) in 0.8 to 1.2 for brightness, contrast and saturation, and the order (n, 3) of the three."""
    factors = generator.uniform(1 - STRENGTH, 1 + STRENGTH, (n, 3))
    return factors, generator.permuted(np.tile(np.arange(3), (n, 1)), axis=1)


def jitter(pixels: Tensor, factors: np.ndarray, order: np.ndarray) -> Tensor:
    """Change brightness, contrast and saturation of `pixels` (B, H, W, C) by each image's factors, in its order."""
    changes: dict[int, Change] = {BRIGHTNESS: brightness, CONTRAST: contrast, SATURATION: saturation}
    for step in range(len(changes)):
        for kind, change in changes.items():
            pixels = changed(pixels, order[:, step] == kind, change, factors[:, kind])
    return pixels


def changed(pixels: Tensor, selected: np.ndarray, change: Change, values: np.ndarray) -> Tensor:
    """Apply `change` to the `selected` images (B,) bool, each with its value of `values` (B,)."""
    if not selected.any():
        return pixels
    rows = torch.from_numpy(np.flatnonzero(selected)).to(pixels.device)
    return pixels.index_copy(0, rows, change(pixels[rows], values[selected]).contiguous())


def brightness(pixels: Tensor, factors: np.ndarray) -> Tensor:
    """Blend each image with black; a factor of 1 returns the image."""
    return blend(torch.zeros_like(pixels), pixels, factors)


def contrast(pixels: Tensor, factors: np.ndarray) -> Tensor:
    """Blend each image with a uniform gray of its mean luminance."""
    total = luminance(pixels).sum(dim=(1, 2, 3), dtype=torch.int64)
    count = pixels.shape[1] * pixels.shape[2]
    mean = (2 * total + count) // (2 * count)
    return blend(mean.to(torch.uint8)[:, None, None, None].expand_as(pixels), pixels, factors)


def saturation(pixels: Tensor, factors: np.ndarray) -> Tensor:
    """Blend each image with its grayscale version; a single channel has no saturation."""
    return pixels if pixels.shape[3] == 1 else blend(grayscale(pixels), pixels, factors)


def sharpness(pixels: Tensor, factors: np.ndarray) -> Tensor:
    """Blend each image with a smoothed one (3 x 3 kernel, weights 1, 5 in the center); the border is not smoothed."""
    height, width = pixels.shape[1:3]
    if min(height, width) < 3:
        return pixels
    wide = pixels.to(torch.int32)
    total = 4 * wide[:, 1:-1, 1:-1]
    for top in range(3):
        for left in range(3):
            total = total + wide[:, top : top + height - 2, left : left + width - 2]
    smooth = pixels.clone()
    smooth[:, 1:-1, 1:-1] = ((2 * total + 13) // 26).to(torch.uint8)
    return blend(smooth, pixels, factors)


def blend(start: Tensor, end: Tensor, factors: np.ndarray) -> Tensor:
    """Return start + factor * (end - start), clipped to 0..255 and rounded down, as uint8."""
    weights = torch.from_numpy(factors.astype(np.float32)).to(end.device)[:, None, None, None]
    base = start.float()
    return (end.float() - base).mul_(weights).add_(base).clamp_(0, 255).to(torch.uint8)


def luminance(pixels: Tensor) -> Tensor:
    """Return the gray level of each pixel, (B, H, W, 1) uint8: ITU-R 601-2, rounded to nearest."""
    if pixels.shape[3] == 1:
        return pixels
    red, green, blue = pixels.to(torch.int32).unbind(dim=3)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).to(torch.uint8)[..., None]


def grayscale(pixels: Tensor) -> Tensor:
    """Return gray images with the same number of (equal) channels."""
    return luminance(pixels).expand_as(pixels)


def invert(pixels: Tensor) -> Tensor:
    """Return the negative."""
    return 255 - pixels


def posterize(pixels: Tensor, bits: np.ndarray) -> Tensor:
    """Keep the highest `bits` (B,) bits of every level."""
    masks = torch.from_numpy((256 - 2 ** (8 - bits.astype(np.int64))).astype(np.uint8)).to(pixels.device)
    return pixels & masks[:, None, None, None]


def solarize(pixels: Tensor, thresholds: np.ndarray) -> Tensor:
    """Invert all levels from the threshold of the image on."""
    edge = torch.from_numpy(np.ceil(thresholds).astype(np.int64)).to(pixels.device)[:, None, None, None]
    return torch.where(pixels < edge, pixels, 255 - pixels)


def autocontrast(pixels: Tensor) -> Tensor:
    """Stretch each channel of each image to 0..255; a uniform channel is unchanged."""
    low = pixels.amin(dim=(1, 2)).double()[..., None]  # (B, C, 1)
    high = pixels.amax(dim=(1, 2)).double()[..., None]
    levels = torch.arange(256, device=pixels.device, dtype=torch.float64)
    scale = levels[-1] / (high - low).clamp(min=1)  # a Python number divided by a tensor would be rounded twice
    stretched = (levels * scale + -low * scale).clamp(0, 255).to(torch.uint8)  # (B, C, 256)
    return look_up(pixels, torch.where(high > low, stretched, levels.to(torch.uint8)))


def equalize(pixels: Tensor) -> Tensor:
    """Equalize the histogram of each channel of each image."""
    n, height, width, channels = pixels.shape
    slot = torch.arange(n * channels, device=pixels.device).reshape(n, 1, 1, channels) * 256
    counts = torch.bincount((slot + pixels).reshape(-1), minlength=n * channels * 256).reshape(n, channels, 256)
    # Pillow ignores the count of the highest level that occurs
    highest = pixels.amax(dim=(1, 2)).long()[..., None]  # (B, C, 1)
    step = (height * width - counts.gather(2, highest)) // 255
    below = counts.cumsum(dim=2) - counts
    divisor = step.clamp(min=1)
    even = ((step // 2 + below) // divisor).clamp(0, 255)
    levels = torch.arange(256, device=pixels.device)
    return look_up(pixels, torch.where(step > 0, even, levels).to(torch.uint8))


def look_up(pixels: Tensor, tables: Tensor) -> Tensor:
    """Replace every level by its value in the table (B, C, 256) of its image and channel."""
    n, _, _, channels = pixels.shape
    slot = torch.arange(n * channels, device=pixels.device).reshape(n, 1, 1, channels) * 256
    return tables.reshape(-1)[slot + pixels]
