"""The one loop over batches: training, prediction, audits and unlearning all read through it.

A split that decodes its images prepares the next batch while the caller uses the current one. Others make each batch
when it is due. Either way all random draws happen in the calling thread, in the order of the batches.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor

AHEAD = 1  # batches that are prepared while the previous one is used

Pair = tuple[Tensor, Tensor]
T = TypeVar("T")


class Pending(Protocol):
    """A batch in preparation."""

    def result(self) -> Pair:
        """Wait for the batch and return it."""

    def cancel(self) -> None:
        """Stop preparing the batch, which nobody will use; return when no thread works on it."""


class Batches(Protocol):
    """A split as `read` needs it."""

    def batch(self, positions: np.ndarray, *, generator: np.random.Generator | None) -> Pair: ...


@runtime_checkable
class Divisible(Protocol):
    """A split whose batches several workers share, and whose epochs can start in the middle."""

    def batch(
        self, positions: np.ndarray, *, generator: np.random.Generator | None, rows: np.ndarray | None = None
    ) -> Pair: ...

    def draw(self, n: int, generator: np.random.Generator) -> object:
        """Take from the generator what `batch` takes for `n` samples."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A split that prepares batches in other threads; `ahead` is how many it should prepare in advance."""

    @property
    def ahead(self) -> int: ...

    def start(
        self, positions: np.ndarray, *, generator: np.random.Generator | None, rows: np.ndarray | None = None
    ) -> Pending: ...


class Ready:
    """A batch that needs no preparation."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def result(self) -> Pair:
        return self.pair

    def cancel(self) -> None:
        pass


def start(
    split: Batches,
    positions: np.ndarray,
    *,
    generator: np.random.Generator | None,
    rows: np.ndarray | None = None,
) -> Pending:
    """Start preparing a batch, or the `rows` of it; splits that do not read ahead make it at once."""
    if isinstance(split, ReadsAhead):
        return split.start(positions, generator=generator, rows=rows)
    if rows is None:
        return Ready(split.batch(positions, generator=generator))
    assert isinstance(split, Divisible)
    return Ready(split.batch(positions, generator=generator, rows=rows))


def ahead_of(*splits: object) -> int:
    """Return how many batches of these splits to prepare in advance."""
    return max(split.ahead if isinstance(split, ReadsAhead) else 0 for split in splits)


def prepared(
    steps: Iterable[T], begin: Callable[[T], Sequence[Pending]], *, ahead: int
) -> Iterator[tuple[T, list[Pair]]]:
    """Yield every step with its batches; those of the next `ahead` steps are in preparation meanwhile.

    When the iterator is closed early, or `begin` fails, batches in preparation are canceled and no thread works on.
    """
    waiting: deque[tuple[T, Sequence[Pending]]] = deque()
    try:
        for step in steps:
            waiting.append((step, begin(step)))
            if len(waiting) > ahead:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)
    finally:
        for _, batches in waiting:
            for batch in batches:
                batch.cancel()


def _finished(waiting: deque[tuple[T, Sequence[Pending]]]) -> tuple[T, list[Pair]]:
    step, batches = waiting[0]
    pairs = [batch.result() for batch in batches]  # it stays in the queue until then, so that an error cancels it too
    waiting.popleft()
    return step, pairs


def read(split: Batches, orders: Iterable[np.ndarray], *, generator: np.random.Generator | None) -> Iterator[Pair]:
    """Yield the batch of each of `orders`, which are positions in the split."""

    def begin(positions: np.ndarray) -> list[Pending]:
        return [start(split, positions, generator=generator)]

    for _, (pair,) in prepared(orders, begin, ahead=ahead_of(split)):
        yield pair
