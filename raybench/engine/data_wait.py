"""How long a training waits for its data."""

import time
from collections.abc import Iterator
from typing import TypeVar

import torch

T = TypeVar("T")


class DataWait:
    """Seconds of an epoch, and of these the seconds in which its loop waited for the next batch.

    A CUDA device works through queued kernels while the loop waits. A wait counts only if the device has finished all
    of them when the batch arrives; an event is queried for that, which does not synchronize.
    """

    def __init__(self, device: torch.device, *, waited: float = 0.0, seconds: float = 0.0) -> None:
        """`waited` and `seconds` are those before a resumed epoch was interrupted."""
        self.waited, self.seconds = waited, seconds
        self._queue: torch.Event | None = torch.Event(device) if device.type == "cuda" else None
        self._since = time.perf_counter()

    def over(self, batches: Iterator[T]) -> Iterator[T]:
        """Yield the batches and measure each wait."""
        self._since = time.perf_counter()
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                break
            if self._queue is None or self._queue.query():
                self.waited += time.perf_counter() - start
            yield batch
            if self._queue is not None:
                self._queue.record()
            self.stop()
        self.stop()

    def stop(self) -> None:
        """Add the seconds since the last call."""
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now

    @property
    def fraction(self) -> float:
        """Return the fraction of the time that was spent waiting, 0 to 1."""
        return min(1.0, self.waited / self.seconds) if self.seconds > 0 else 0.0
