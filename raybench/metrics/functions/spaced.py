"""At most so many samples, evenly spaced by sample id, for what would cost too much on all of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from raybench.metrics.framework.arrays import Array, Ints, as_array
from raybench.metrics.framework.streaming import (
    Accumulator,
    Positions,
    Rows,
    State,
    Streamed,
    WholeArrayNeeded,
    mergeable,
)


class _Gathered:
    """The chosen rows of a piece."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[np.ndarray] = []

    def update(self, arrays: Mapping[str, Any], positions: Positions) -> None:
        chosen = np.isin(positions.rows, _rows(positions.total, self._limit))
        self._parts.append(as_array(arrays["values"], dtype=None)[chosen])

    def state(self) -> State:
        return {"rows": np.concatenate(self._parts)}


class _Gather:
    def accumulator(self, function: Callable[..., Any], settings: Mapping[str, Any]) -> Accumulator:
        return _Gathered(settings["limit"])

    def result(self, states: Sequence[State], pieces: Sequence[Rows], settings: Mapping[str, Any]) -> np.ndarray:
        chosen = _rows(sum(map(len, pieces)), settings["limit"])
        found = np.concatenate([piece[np.isin(piece, chosen)] for piece in pieces])
        gathered: np.ndarray = np.concatenate([state["rows"] for state in states])[np.argsort(found, kind="stable")]
        return gathered

    def select(self, result: Any, rows: Rows) -> Any:
        raise WholeArrayNeeded("evenly spaced rows are taken of a whole split, not of a part")

    def memory(self, width: int) -> int:
        return 0

    def stored(self, width: int, rows: int, pieces: int, whole: int, settings: Mapping[str, Any]) -> int:
        return 4 * width * min(rows, int(settings["limit"]))


@mergeable(_Gather())
def spaced(values: Array, limit: int) -> np.ndarray:
    """Return at most `limit` rows of an array (N, ...), evenly spaced, in its own type; all if there are fewer.

    Raise ValueError for a limit below 2.
    """
    return as_array(values, dtype=None)[_rows(len(values), limit)]


def at_most(values: Array, limit: int | None) -> Array:
    """Return `spaced` rows, or the array itself where it has no more or without a limit."""
    if limit is None or (not isinstance(values, Streamed) and len(values) <= limit):
        return values
    return spaced(values, limit)


def _rows(n: int, limit: int) -> Ints:
    if limit < 2:
        raise ValueError(f"limit must be at least 2, got {limit}")
    size = min(n, limit)
    return np.arange(size) * n // max(size, 1)
