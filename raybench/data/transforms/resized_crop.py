"""Random resized crop: a random part of an image, scaled to a fixed size; the usual training augmentation of
photographs.

Uniform numbers that are drawn before the image is opened determine the part. So images of unknown size can be decoded
in threads while all draws come from one generator, in one order.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SCALE = (0.08, 1.0)  # fraction of the area of the image
RATIO = (3 / 4, 4 / 3)  # width / height, uniform in its logarithm
TRIES = 10


def draw(n: int, generator: np.random.Generator) -> np.ndarray:
    """Draw the uniform numbers for `n` images: (n, 22) float64 in [0, 1)."""
    return generator.random((n, 2 * TRIES + 2))


def box(uniforms: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the part that `uniforms` (22,) select.

    Has the distribution of torchvision's RandomResizedCrop: up to ten attempts to draw area and ratio, then the largest
    central part with an allowed ratio.
    """
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    *tries, vertical, horizontal = uniforms.tolist()
    for u, v in zip(tries[:TRIES], tries[TRIES:]):
        area = height * width * (SCALE[0] + (SCALE[1] - SCALE[0]) * u)
        ratio = math.exp(low + (high - low) * v)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(vertical * (height - h + 1)), int(horizontal * (width - w + 1)), h, w
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def resized_crops(images: Tensor, uniforms: np.ndarray, height: int, width: int) -> Tensor:
    """Cut a part out of each of uint8 `images` (B, H, W, C) and scale it once: (B, height, width, C)."""
    crops = []
    for image, image_uniforms in zip(images, uniforms):
        top, left, h, w = box(image_uniforms, *image.shape[:2])
        crops.append(resized(image[None, top : top + h, left : left + w], height, width))
    return torch.cat(crops) if crops else images.new_empty((0, height, width, images.shape[3]))


def resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """Scale uint8 (B, H, W, C) to (B, height, width, C), bilinear with antialiasing, within one level of Pillow's."""
    x = pixels.permute(0, 3, 1, 2)
    if x.device.type != "cpu":
        x = x.float()  # CUDA has no uint8 kernel
    x = F.interpolate(x, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    return (x if x.dtype == torch.uint8 else x.round_().clamp_(0, 255).byte()).permute(0, 2, 3, 1)
