"""Functions whose rows do not depend on each other: the decorators, and how results of pieces are put together."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.metrics.framework.streaming import (
    Accumulator,
    Function,
    Positions,
    Rows,
    State,
    mergeable,
)


@dataclass(frozen=True)
class RowWise:
    """Rows do not depend on each other: results are put together in the order of the samples.

    `axes`: for each array that the function returns, the axis of the samples; None for one that is the same for any
    samples. A single number: the function returns one array.
    """

    axes: int | tuple[int | None, ...] = 0

    def accumulator(self, function: Callable[..., Any], settings: Mapping[str, Any]) -> Accumulator:
        return _Rows(function, settings, self._axes)

    @property
    def _axes(self) -> tuple[int | None, ...]:
        return self.axes if isinstance(self.axes, tuple) else (self.axes,)

    def result(self, states: Sequence[State], pieces: Sequence[Rows], settings: Mapping[str, Any]) -> Any:
        order = np.argsort(np.concatenate(pieces), kind="stable")
        joined = []
        for i, axis in enumerate(self._axes):
            parts = [state[str(i)] for state in states]
            joined.append(parts[0] if axis is None else np.take(np.concatenate(parts, axis=axis), order, axis=axis))
        return tuple(joined) if isinstance(self.axes, tuple) else joined[0]

    def select(self, result: Any, rows: Rows) -> Any:
        if not isinstance(self.axes, tuple):
            return np.take(result, rows, axis=self.axes)
        return tuple(
            part if axis is None else np.take(part, rows, axis=axis)
            for part, axis in zip(result, self.axes, strict=True)
        )

    def memory(self, width: int) -> int:
        return 0

    def stored(self, width: int, rows: int, pieces: int, whole: int, settings: Mapping[str, Any]) -> int:
        return 8 * rows * sum(axis is not None for axis in self._axes)


class _Rows:
    """The results of the blocks of a piece."""

    def __init__(self, function: Callable[..., Any], settings: Mapping[str, Any], axes: tuple[int | None, ...]) -> None:
        self._function, self._settings, self._axes = function, settings, axes
        self._takes_positions = "positions" in inspect.signature(function).parameters
        self._parts: list[tuple[Any, ...]] = []

    def update(self, arrays: Mapping[str, Any], positions: Positions) -> None:
        extra = {"positions": positions} if self._takes_positions else {}
        value = self._function(**arrays, **{**self._settings, **extra})
        self._parts.append(value if isinstance(value, tuple) else (value,))

    def state(self) -> State:
        return {
            str(i): np.asarray(parts[0]) if axis is None else np.concatenate(parts, axis=axis)
            for i, (axis, parts) in enumerate(zip(self._axes, zip(*self._parts), strict=True))
        }


def row_wise(function: Function) -> Function:
    """Let a function of logits or features, whose rows do not depend on each other, work on any number of samples.

    It returns an array with one row per sample. A parameter `labels` takes the labels of the same split. Two streamed
    arrays, such as `logits` and `reference_logits`, are those of two models on the same samples.
    """
    return mergeable(RowWise())(function)


def signal(function: Function) -> Function:
    """Make a row-wise function without settings a signal: stored for every sample of every large split."""
    return mergeable(RowWise(), always=True)(function)
