"""Seeds and sample orders: each random stream is named by its purpose, so equal settings give equal numbers."""

import hashlib

import numpy as np


def seed_for(*parts: int | str) -> int:
    """Derive a 63-bit seed from `parts`, the same on every machine and Python version: seed_for("augment", run, epoch,
    rank).

    1 and "1" give different seeds, and so do ("ab", "c") and ("a", "bc").
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        text = part if isinstance(part, str) else str(int(part))
        digest.update(f"{'s' if isinstance(part, str) else 'i'}{len(text)}:{text}".encode())
    return int.from_bytes(digest.digest(), "big") >> 1


def epoch_order(n: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the positions 0..n-1 in the order of this epoch, the same for every worker."""
    return np.random.default_rng(seed_for("order", seed, epoch)).permutation(n)


def worker_rows(n: int, *, rank: int, world_size: int) -> np.ndarray:
    """Return the rows of a global batch of `n` samples that worker `rank` computes: first its `num_rows` own ones.

    Every sample has one owner. A worker with fewer than 2 samples also gets samples of others, which must not count in
    the loss: data-parallel workers wait for each other, so none may skip a step, and BatchNorm needs 2 samples.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not in 0..{world_size - 1}")
    rows = np.arange(n)
    own = rows[rank::world_size]
    return np.concatenate([own, np.setdiff1d(rows, own)[: max(0, 2 - len(own))]])


def num_rows(n: int, *, rank: int, world_size: int) -> int:
    """Return how many samples of a global batch of `n` belong to worker `rank`."""
    return len(range(rank, n, world_size))


def stratified_order(*levels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a random order of 0..n-1 in which every slice contains each stratum in proportion, up to rounding.

    `levels` are the strata (n,), the finest first; each is balanced as far as the coarser ones after it allow. Sample j
    of a stratum of m gets the position (rank_j + u) / m with one uniform u per stratum (systematic sampling), and the
    order starts at a random point of that circle, which makes every sample equally likely at every position. A slice of
    s samples contains s m / n samples of a stratum, plus or minus one or two; exactly so if that is a whole number for
    all strata.
    """
    order = generator.permutation(len(levels[0]))
    for strata in levels:
        _, codes, counts = np.unique(strata, return_inverse=True, return_counts=True)
        by_stratum = order[np.argsort(codes[order], kind="stable")]
        rank = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
        offset = generator.random(len(counts))
        position = (rank + np.repeat(offset, counts)) / np.repeat(counts, counts)
        order = by_stratum[np.argsort(position, kind="stable")]
    return np.roll(order, generator.integers(max(len(order), 1)))
