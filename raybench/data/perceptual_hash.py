"""64-bit perceptual hashes: equal for copies of an image that were rescaled or recompressed.

The image is converted to gray and scaled to 32 x 32; the 8 x 8 lowest frequencies of its two-dimensional cosine
transform are compared with their median (Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash
Functions). The constant term is among the 64, as in pHash of the Python package imagehash, so that reported counts of
equal hashes can be reproduced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from PIL import Image
from scipy.fft import dctn

from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.reading.decode_dataset import run_in_threads, summarize
from raybench.data.reading.decode_image import decode, describe
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError

IMAGE_SIZE, LOW = 32, 8
BITS = LOW * LOW


@dataclass(frozen=True, eq=False)
class EqualHashes:
    """Pairs of equal hashes between two roles: their number, and the first few as pairs of sample ids."""

    first: str
    second: str
    pairs: int
    examples: np.ndarray  # (K, 2) int64


def hash_of(image: np.ndarray) -> int:
    """Return the hash of a uint8 image (H, W, 1 or 3); the lowest frequency is the most significant bit."""
    gray = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("L")
    small = gray.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(small, dtype=np.float64), type=2)[:LOW, :LOW]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def hashes(data: ImageData, ids: np.ndarray, *, workers: int | None = None) -> np.ndarray:
    """Return the hashes of the images with these ids, (N,) uint64, computed in threads at full resolution."""
    source = data.images
    values = np.zeros(len(ids), dtype=np.uint64)

    def compute(position: int) -> None:
        i = int(ids[position])
        image = decode(source.read(i), describe(source, i)) if isinstance(source, Encoded) else source[i]
        values[position] = hash_of(image)

    errors = run_in_threads(np.arange(len(ids)), compute, workers=workers)
    if errors:
        raise UserError(summarize(errors.values(), len(ids), "cannot be hashed"))
    return values


def is_near(values: np.ndarray, targets: np.ndarray, distance: int = 0) -> np.ndarray:
    """Return for every hash whether it differs from any of `targets` in at most `distance` bits: (N,) bool."""
    if distance == 0:
        return np.isin(values, targets)
    near = np.zeros(len(values), dtype=bool)
    for target in np.unique(targets):
        near |= np.bitwise_count(values ^ target) <= distance
    return near


def equal_pairs(hashes_a: np.ndarray, hashes_b: np.ndarray) -> np.ndarray:
    """Return all pairs (position in a, position in b) of equal hashes, (P, 2) int64, sorted."""
    order = np.argsort(hashes_b, kind="stable")
    ordered = hashes_b[order]
    start, stop = (np.searchsorted(ordered, hashes_a, side=side) for side in ("left", "right"))
    counts = stop - start
    first = np.repeat(np.arange(len(hashes_a)), counts)
    place = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([first, order[np.repeat(start, counts) + place]], axis=1).astype(np.int64)


def cross_role_pairs(
    data: ImageData, roles: Mapping[str, np.ndarray], *, examples: int = 5, workers: int | None = None
) -> list[EqualHashes]:
    """Find equal hashes between any two of the roles, given as sample ids: images that leak from one role to the other.

    Roles without a shared hash are not listed. `pairs` is exact: n copies in one role and m in the other are n m pairs.
    """
    hashes_of = {role: hashes(data, ids, workers=workers) for role, ids in roles.items()}
    leaks = []
    for first, second in combinations(roles, 2):
        (a, counts_a), (b, counts_b) = (np.unique(hashes_of[role], return_counts=True) for role in (first, second))
        shared, at_a, at_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
        if len(shared) == 0:
            continue
        in_a = np.flatnonzero(np.isin(hashes_of[first], shared))[:examples]
        positions = equal_pairs(hashes_of[first][in_a], hashes_of[second])[:examples]
        ids = np.stack([roles[first][in_a[positions[:, 0]]], roles[second][positions[:, 1]]], axis=1)
        leaks.append(EqualHashes(first, second, int(counts_a[at_a] @ counts_b[at_b]), ids))
    return leaks


def deduplicate(data: ImageData, *, workers: int | None = None) -> tuple[ImageData, np.ndarray]:
    """Leave out every image whose hash equals that of an image with a smaller id; return the dataset and the ids left
    out.

    Copies are searched in the whole dataset, within and across official splits, so an image in both the training and
    the test split stays in the one that comes first. Samples that are already left out are ignored.
    """
    ids = np.flatnonzero(data.part != LEFT_OUT)
    _, first = np.unique(hashes(data, ids, workers=workers), return_index=True)
    copies = np.delete(ids, first).astype(np.int64)
    part = np.array(data.part)
    part[copies] = LEFT_OUT
    return replace(data, part=part), copies
