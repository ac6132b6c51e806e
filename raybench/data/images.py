"""An image dataset: pixels or encoded files, with the label, official split and group of every sample.

The sample id is the row number. It is stable because every format lists its files in a fixed order, so a split stored
as ids refers to the same samples on every machine.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from raybench.data.reading.encoded import CHANNELS, Encoded
from raybench.errors import UserError
from raybench.registry import attach

# Official splits. Training and validation samples are drawn from TRAIN; calibration and test samples from TEST; unseen
# samples from UNSEEN if the dataset has such a split, else from TEST; none from LEFT_OUT (corrupt or unused).
TRAIN, TEST, UNSEEN, LEFT_OUT = 0, 1, 2, 255
PARTS = (TRAIN, TEST, UNSEEN, LEFT_OUT)

# The default normalization of photographs
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Function = TypeVar("Function", bound=Callable[..., "ImageData"])


@dataclass(frozen=True, eq=False)
class ImageData:
    """All samples of a dataset; row number = sample id. Arrays may be memory maps and are never modified."""

    images: np.ndarray | Encoded  # (N, H, W, C) uint8, C is 1 or 3; or N encoded images of any size, decoded to RGB
    labels: np.ndarray  # (N,) int64 class ids, or (N, L) uint8 of 0 and 1 for a multi-label task
    part: np.ndarray  # (N,) uint8, official split, one of PARTS; all TRAIN for a dataset without official splits
    class_names: tuple[str, ...]
    mean: tuple[float, ...]  # per channel of images / 255
    std: tuple[float, ...]
    groups: np.ndarray | None = None  # (N,) int64 identity of each sample

    def __post_init__(self) -> None:
        n = len(self.images)
        if not isinstance(self.images, Encoded):
            valid = self.images.dtype == np.uint8 and self.images.ndim == 4
            require(valid, "images", "uint8 (N, H, W, C)", self.images)
            valid = n > 0 and self.images.shape[3] in (1, 3)
            require(valid, "images", "at least one image of 1 or 3 channels", self.images)
        if self.labels.ndim == 1:
            require(self.labels.dtype == np.int64 and len(self.labels) == n, "labels", f"int64 ({n},)", self.labels)
        else:
            shape = (n, len(self.class_names))
            require(
                self.labels.dtype == np.uint8 and self.labels.shape == shape, "labels", f"uint8 {shape}", self.labels
            )
        require(self.part.dtype == np.uint8 and self.part.shape == (n,), "part", f"uint8 ({n},)", self.part)
        if self.groups is not None:
            require(self.groups.dtype == np.int64 and self.groups.shape == (n,), "groups", f"int64 ({n},)", self.groups)
        highest = len(self.class_names) - 1 if self.task == "single" else 1
        if self.labels.min() < 0 or self.labels.max() > highest:
            raise UserError(
                f"labels run from {self.labels.min()} to {self.labels.max()}, but {len(self.class_names)} class names "
                f"allow 0 to {highest}"
            )
        if unknown_parts := set(np.flatnonzero(np.bincount(self.part)).tolist()) - set(PARTS):
            raise UserError(
                f"part contains {min(unknown_parts)} (allowed: {TRAIN} training, {TEST} test, {UNSEEN} unseen, "
                f"{LEFT_OUT} left out)"
            )
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise UserError(f"mean {self.mean} and std {self.std} need {self.channels} values each, std above 0")

    @property
    def num_samples(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        return CHANNELS if isinstance(self.images, Encoded) else int(self.images.shape[3])

    @property
    def pixels(self) -> np.ndarray:
        """Return the array of images; raise UserError for encoded files, which must be decoded first."""
        if isinstance(self.images, Encoded):
            raise UserError(f"{self.images.root}: images are files of any size; set data.view, the size to decode to")
        return self.images

    @property
    def num_classes(self) -> int:
        """Return the number of classes, or of labels in a multi-label task."""
        return len(self.class_names)

    @property
    def task(self) -> Literal["single", "multi_label"]:
        return "single" if self.labels.ndim == 1 else "multi_label"

    def fingerprint(self) -> str:
        """Hash all arrays and names into 16 hex characters; reads pixels that are not stored (0.2 s for CIFAR-10).

        For encoded images, hashes file names and sizes instead of content: see `Encoded.fingerprint`.
        """
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr((self.class_names, self.mean, self.std)).encode())
        if isinstance(self.images, Encoded):
            digest.update(self.images.fingerprint(content=False).encode())
        else:
            digest.update(pixels_hash(self.images).encode())
        for array in (self.labels, self.part, self.groups):
            digest.update(b"none" if array is None else array_hash(array).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class DatasetSpec:
    """What `raybench list` shows of a dataset; `needs` lists the files expected in `root`, empty if none.

    `public`: public images without faces, of which a report may show the most exposed ones.
    """

    source: str
    needs: str
    public: bool = False


def dataset(*, source: str, needs: str = "", public: bool = False) -> Callable[[Function], Function]:
    """Declare `name(root, *, download=False, <options with defaults>) -> ImageData` as a dataset format."""

    def decorate(function: Function) -> Function:
        return attach(function, DatasetSpec(source, needs, public))

    return decorate


def pixels_hash(images: np.ndarray) -> str:
    """Hash an array of images; stored pixels know their hash."""
    stored: str | None = getattr(images, "content_hash", None)
    return stored or array_hash(images)


def array_hash(array: np.ndarray) -> str:
    """Hash type, shape and content of an array into 32 hex characters."""
    digest = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the mean and standard deviation per channel of uint8 `images` (N, H, W, C), scaled to 0..1."""
    pixels = images.reshape(-1, images.shape[-1])
    levels = np.arange(256) / 255
    # A histogram is exact in float64 and needs no float copy of the pixels.
    counts = [np.bincount(pixels[:, c], minlength=256) / len(pixels) for c in range(images.shape[-1])]
    means = [float(count @ levels) for count in counts]
    deviations = [float(np.sqrt(count @ (levels - mean) ** 2)) for count, mean in zip(counts, means)]
    return tuple(means), tuple(deviations)


def require(condition: bool, name: str, expected: str, array: Any) -> None:
    """Raise UserError unless `condition` is true, with the type and shape of the array."""
    if not condition:
        raise UserError(f"{name} should be {expected}, found {array.dtype} {array.shape}")
