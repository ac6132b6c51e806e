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


def epoch_order(n: int, *, seed: int, epoch: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
    """Return the positions that worker `rank` visits in this epoch: its shard of one permutation of 0..n-1.

    All ranks draw the same permutation and get equally many positions; if `world_size` does not divide n, the first
    positions are repeated, so that no data-parallel worker waits for a batch that another does not have.
    """
    order = np.random.default_rng(seed_for("order", seed, epoch)).permutation(n)
    return rank_shard(order, rank=rank, world_size=world_size)


def rank_shard(order: np.ndarray, *, rank: int, world_size: int) -> np.ndarray:
    """Return every `world_size`-th position from `rank` on, wrapped around to make all shards equally long."""
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not in 0..{world_size - 1}")
    return np.resize(order, -(-len(order) // world_size) * world_size)[rank::world_size]


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
