"""AutoAugment's policy for CIFAR-10 (Cubuk et al. 2019, arXiv 1805.09501) for whole batches, as torchvision applies it.

Each image gets one of 25 pairs of operations; each of the two is done with its own probability, and turned to either
side with equal chance. Images that get the same operation are worked on together.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raybench.data.transforms import color
from raybench.data.transforms.affine import move

LEVELS = 10
NONE = 0  # level of an operation that has none

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
    """What was drawn for a batch."""

    pair: np.ndarray  # (B,) int64, a row of POLICY
    chance: np.ndarray  # (B, 2) float64 in [0, 1): done where it is at most the operation's probability
    positive: np.ndarray  # (B, 2) bool: which way it turns


def draw(n: int, generator: np.random.Generator) -> Choices:
    """Draw a pair of operations for each of `n` images, and which of them are done."""
    pair = generator.integers(0, len(POLICY), n)
    return Choices(pair, generator.random((n, 2)), generator.integers(0, 2, (n, 2)) == 1)


def autoaugment(pixels: Tensor, choices: Choices) -> Tensor:
    """Change uint8 `pixels` (B, H, W, C) as chosen; equal to torchvision's AutoAugment of Pillow images."""
    for turn in (0, 1):
        steps = [pair[turn] for pair in POLICY]
        done = choices.chance[:, turn] <= np.array([probability for _, probability, _ in steps])[choices.pair]
        names = np.array([name for name, _, _ in steps])[choices.pair]
        levels = np.array([level for _, _, level in steps])[choices.pair]
        sides = np.where(choices.positive[:, turn], 1.0, -1.0)
        for name, operation in OPERATIONS.items():
            values = magnitudes(name, *pixels.shape[1:3])[levels]
            signed = values * sides if name in SIGNED else values
            pixels = color.changed(pixels, done & (names == name), operation, signed)
    return pixels


def magnitudes(name: str, height: int, width: int) -> np.ndarray:
    """Return what the ten levels of an operation mean for images of this size, (10,) float64."""
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
    """Move each column by its slope, about the upper left corner."""
    return move(pixels, maps(len(slopes), d=slopes))


def translate_x(pixels: Tensor, shifts: np.ndarray) -> Tensor:
    """Move each image to the right by a whole number of pixels."""
    return move(pixels, maps(len(shifts), c=-np.trunc(shifts)))


def translate_y(pixels: Tensor, shifts: np.ndarray) -> Tensor:
    """Move each image down by a whole number of pixels."""
    return move(pixels, maps(len(shifts), f=-np.trunc(shifts)))


def rotate(pixels: Tensor, degrees: np.ndarray) -> Tensor:
    """Turn each image counter-clockwise about its center."""
    x, y = pixels.shape[2] / 2, pixels.shape[1] / 2
    # Pillow rounds the sine and cosine, so that quarter turns are exact
    sine = np.array([round(math.sin(-math.radians(angle % 360)), 15) for angle in degrees])
    cosine = np.array([round(math.cos(-math.radians(angle % 360)), 15) for angle in degrees])
    shift_x, shift_y = cosine * -x + sine * -y + x, -sine * -x + cosine * -y + y
    return move(pixels, maps(len(degrees), a=cosine, b=sine, c=shift_x, d=-sine, e=cosine, f=shift_y))


def maps(n: int, **entries: np.ndarray) -> np.ndarray:
    """Return affine maps (n, 6) with the given entries, the others as in the identity."""
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
