"""Reuse expensive objects between the jobs that one worker process runs."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ProcessCache(Generic[Value]):
    """Keep the latest `capacity` objects by key.

    The oldest object is dropped before a new one is built, so that at most `capacity` of them are in memory.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.values: dict[Hashable, Value] = {}

    def get(self, key: Hashable, build: Callable[[], Value]) -> Value:
        """Return the object of this key; call `build` if it is not cached."""
        if key not in self.values:
            while len(self.values) >= self.capacity:
                del self.values[next(iter(self.values))]
            self.values[key] = build()
        return self.values[key]
