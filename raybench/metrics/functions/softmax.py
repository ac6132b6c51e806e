"""Log-softmax of stored logits in float64, in blocks of rows that stay in cache."""

from collections.abc import Iterator

import numpy as np

from raybench.metrics.framework.arrays import Floats

NARROW = 128  # classes
_BLOCK_ELEMENTS = 1 << 16  # 0.5 MB of float64; on a whole (20k, 1000) matrix most of the time is page faults


def log_softmax(logits: Floats) -> Floats:
    """Compute log probabilities (N, C) in float64; finite for finite logits, however far apart.

    Equal rows give equal bits at any position (a BLAS product for the sum would not), so ties stay ties. With few
    classes the result is a view of a (C, N) array: reducing along rows of 10 costs 6x reducing down columns.
    """
    if logits.shape[1] < NARROW:
        return _normalized(np.array(logits.T, dtype=np.float64, order="C"), axis=0).T
    return _normalized(np.array(logits, dtype=np.float64, order="C"), axis=1)


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices over the rows of an (N, C) array, about 0.5 MB of float64 each."""
    step = max(16, _BLOCK_ELEMENTS // shape[1])
    for start in range(0, shape[0], step):
        yield slice(start, start + step)


def _normalized(values: Floats, axis: int) -> Floats:
    values -= values.max(axis=axis, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=axis, keepdims=True))
    return values
