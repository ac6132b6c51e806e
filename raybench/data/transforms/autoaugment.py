"""AutoAugment's policy for CIFAR-10 (Cubuk et al. 2019, arXiv 1805.09501) on whole batches, as torchvision applies it.

Each image gets one of 25 pairs of operations; each operation is applied with its own probability, with a random sign.
Images with the same operation are processed together.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raybench.data.transforms import color
from raybench.data.transforms.affine import move

LEVELS = 10
NONE = 0  # the level of an operation without a magnitude

# Pairs of (operation, probability, level)
POLICY = (
    (("invert", 0.1, NONE), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, NONE), ("equalize", 0.9, NONE)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, NONE), ("equalize", 0.5, NONE)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, NONE), ("autocontrast", 0.4, NONE)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, NONE)),
    (("equalize", 0.2, NONE), ("autocontrast", 0.6, NONE)),
    (("equalize", 0.2, NONE), ("equalize", 0.6, NONE)),
    (("color", 0.9, 9), ("equalize", 0.6, NONE)),
    (("autocontrast", 0.8, NONE), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, NONE)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, NONE), ("solarize", 0.8, 3)),
    (("equalize", 0.8, NONE), ("invert", 0.1, NONE)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, NONE)),
)


@dataclass(frozen=True)
class Choices:
    """The random draws of a batch."""

    pair: np.ndarray  # (B,) int64: row of POLICY
    chance: np.ndarray  # (B, 2) float64 in [0, 1): applied if at most the probability of the operation
    positive: np.ndarray  # (B, 2) bool: the sign of the magnitude

    def take(self, rows: np.ndarray) -> "Choices":
        """Return the draws of some images of the batch."""
        return Choices(self.pair[rows], self.chance[rows], self.positive[rows])


def draw(n: int, generator: np.random.Generator) -> Choices:
    """Draw a pair of operations for each of `n` images, and whether each is applied."""
    pair = generator.integers(0, len(POLICY), n)
    return Choices(pair, generator.random((n, 2)), generator.integers(0, 2, (n, 2)) == 1)


def autoaugment(pixels: Tensor, choices: Choices) -> Tensor:
    """Apply the drawn operations to uint8 `pixels` (B, H, W, C); equal to torchvision on Pillow images."""
    for step in (0, 1):
        operations = [pair[step] for pair in POLICY]
        applied = choices.chance[:, step] <= np.array([probability for _, probability, _ in operations])[choices.pair]
        names = np.array([name for name, _, _ in operations])[choices.pair]
        levels = np.array([level for _, _, level in operations])[choices.pair]
        signs = np.where(choices.positive[:, step], 1.0, -1.0)
        for name, operation in OPERATIONS.items():
            values = magnitudes(name, *pixels.shape[1:3])[levels]
            signed = values * signs if name in SIGNED else values
            pixels = color.changed(pixels, applied & (names == name), operation, signed)
    return pixels


def magnitudes(name: str, height: int, width: int) -> np.ndarray:
    """Return the ten magnitudes of an operation for images of this size, (10,) float64."""
    if name == "posterize":
        return 8 - np.round(np.arange(LEVELS) / ((LEVELS - 1) / 4))
    ends = {
        "shear_y": (0, 0.3),
        "translate_x": (0, 150 / 331 * width),
        "translate_y": (0, 150 / 331 * height),
        "rotate": (0, 30),
        "solarize": (255, 0),
    }
    return torch.linspace(*ends.get(name, (0, 0.9)), LEVELS).double().numpy()


def shear_y(pixels: Tensor, slopes: np.ndarray) -> Tensor:
    """Shift each column vertically, in proportion to its distance from the left edge."""
    return move(pixels, maps(len(slopes), d=slopes))


def translate_x(pixels: Tensor, shifts: np.ndarray) -> Tensor:
    """Shift each image to the right by a whole number of pixels."""
    return move(pixels, maps(len(shifts), c=-np.trunc(shifts)))


def translate_y(pixels: Tensor, shifts: np.ndarray) -> Tensor:
    """Shift each image down by a whole number of pixels."""
    return move(pixels, maps(len(shifts), f=-np.trunc(shifts)))


def rotate(pixels: Tensor, degrees: np.ndarray) -> Tensor:
    """Rotate each image counter-clockwise about its center."""
    x, y = pixels.shape[2] / 2, pixels.shape[1] / 2
    # Pillow rounds sine and cosine, so that rotations by 90 degrees are exact
    sine = np.array([round(math.sin(-math.radians(angle % 360)), 15) for angle in degrees])
    cosine = np.array([round(math.cos(-math.radians(angle % 360)), 15) for angle in degrees])
    shift_x, shift_y = cosine * -x + sine * -y + x, -sine * -x + cosine * -y + y
    return move(pixels, maps(len(degrees), a=cosine, b=sine, c=shift_x, d=-sine, e=cosine, f=shift_y))


def maps(n: int, **entries: np.ndarray) -> np.ndarray:
    """Return affine transforms (n, 6) with the given coefficients, the others as in the identity."""
    identity = {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": 1.0, "f": 0.0}
    return np.stack([np.broadcast_to(entries.get(name, value), n) for name, value in identity.items()], axis=1)


SIGNED = ("shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness")
OPERATIONS: dict[str, color.Change] = {
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
    "rotate": rotate,
    "brightness": lambda pixels, by: color.brightness(pixels, 1 + by),
    "color": lambda pixels, by: color.saturation(pixels, 1 + by),
    "contrast": lambda pixels, by: color.contrast(pixels, 1 + by),
    "sharpness": lambda pixels, by: color.sharpness(pixels, 1 + by),
    "posterize": color.posterize,
    "solarize": color.solarize,
    "autocontrast": lambda pixels, _: color.autocontrast(pixels),
    "equalize": lambda pixels, _: color.equalize(pixels),
    "invert": lambda pixels, _: color.invert(pixels),
}
