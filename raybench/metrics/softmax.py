"""Log-softmax of stored logits, float64, in blocks of rows that stay in cache."""

from collections.abc import Iterator

import numpy as np

_BLOCK_ELEMENTS = 1 << 18  # 2 MB of float64; on a whole (20k, 1000) matrix most of the time is page faults


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log probabilities (N, C) in float64; finite for finite logits, however far apart."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices over the rows of an (N, C) array, about 2 MB of float64 each."""
    step = max(16, _BLOCK_ELEMENTS // shape[1])
    for start in range(0, shape[0], step):
        yield slice(start, start + step)
