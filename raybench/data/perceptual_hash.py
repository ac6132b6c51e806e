"""64-bit perceptual hashes: equal for copies of a picture that were scaled or compressed again.

An image is made gray and 32 x 32; of its two-dimensional cosine transform the 8 x 8 lowest frequencies are compared
with their median (Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions; the constant term is
among the 64, as in the widely used pHash of the Python package imagehash, so that published counts of equal hashes can
be repeated).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from PIL import Image
from scipy.fft import dctn

from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.reading.decode import decode, describe
from raybench.data.reading.decoding import summary, work_through
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError

SIDE, LOW = 32, 8
BITS = LOW * LOW


@dataclass(frozen=True, eq=False)
class Twins:
    """Pairs of equal hashes between two roles: how many, and the first few as rows of two sample ids."""

    first: str
    second: str
    pairs: int
    examples: np.ndarray  # (K, 2) int64


def hash_of(image: np.ndarray) -> int:
    """Return the hash of a uint8 image (H, W, 1 or 3), its first bit the lowest frequency and the most significant."""
    gray = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("L")
    small = gray.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(small, dtype=np.float64), type=2)[:LOW, :LOW]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def hashes(data: ImageData, ids: np.ndarray, *, workers: int | None = None) -> np.ndarray:
    """Return the hashes of the images with these ids, (N,) uint64, in threads; encoded images are decoded in full."""
    source = data.images
    found = np.zeros(len(ids), dtype=np.uint64)

    def put(position: int) -> None:
        i = int(ids[position])
        image = decode(source.read(i), describe(source, i)) if isinstance(source, Encoded) else source[i]
        found[position] = hash_of(image)

    faults = work_through(np.arange(len(ids)), put, workers=workers)
    if faults:
        raise UserError(summary(faults.values(), len(ids), "cannot be hashed"))
    return found


def within(a: np.ndarray, wanted: np.ndarray, distance: int = 0) -> np.ndarray:
    """Say of every hash in `a` whether it differs from any of `wanted` in at most `distance` bits: (N,) bool."""
    if distance == 0:
        return np.isin(a, wanted)
    near = np.zeros(len(a), dtype=bool)
    for one in np.unique(wanted):
        near |= np.bitwise_count(a ^ one) <= distance
    return near


def equal_pairs(hashes_a: np.ndarray, hashes_b: np.ndarray) -> np.ndarray:
    """Return all (position in a, position in b) whose hashes are equal, (P, 2) int64, sorted."""
    order = np.argsort(hashes_b, kind="stable")
    ordered = hashes_b[order]
    start, stop = (np.searchsorted(ordered, hashes_a, side=side) for side in ("left", "right"))
    counts = stop - start
    first = np.repeat(np.arange(len(hashes_a)), counts)
    place = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([first, order[np.repeat(start, counts) + place]], axis=1).astype(np.int64)


def cross_role_pairs(
    data: ImageData, roles: Mapping[str, np.ndarray], *, examples: int = 5, workers: int | None = None
) -> list[Twins]:
    """Find equal hashes between any two of the roles, given as sample ids: pictures that leak from one to the other.

    Roles without a shared hash are not listed. The number of pairs is exact however large: n copies in one role and m
    in the other are n m pairs.
    """
    known = {role: hashes(data, ids, workers=workers) for role, ids in roles.items()}
    found = []
    for first, second in combinations(roles, 2):
        (a, times_a), (b, times_b) = (np.unique(known[role], return_counts=True) for role in (first, second))
        shared, at_a, at_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
        if len(shared) == 0:
            continue
        in_a = np.flatnonzero(np.isin(known[first], shared))[:examples]
        some = equal_pairs(known[first][in_a], known[second])[:examples]
        shown = np.stack([roles[first][in_a[some[:, 0]]], roles[second][some[:, 1]]], axis=1)
        found.append(Twins(first, second, int(times_a[at_a] @ times_b[at_b]), shown))
    return found


def deduplicate(data: ImageData, *, workers: int | None = None) -> tuple[ImageData, np.ndarray]:
    """Leave out every image whose hash equals that of one with a smaller id; return the set and the ids left out.

    Copies are sought across the whole set, within its parts and between them, so a picture in both the training and the
    test part stays in the one whose rows come first. What is left out already is not looked at.
    """
    ids = np.flatnonzero(data.part != LEFT_OUT)
    _, first = np.unique(hashes(data, ids, workers=workers), return_index=True)
    twins = np.delete(ids, first).astype(np.int64)
    part = np.array(data.part)
    part[twins] = LEFT_OUT
    return replace(data, part=part), twins
