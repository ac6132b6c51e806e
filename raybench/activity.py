"""What this process works on: a training, a trial or a prediction, how far it is and how fast.

The loops over a model call `advance` for every batch. It only counts, unless somebody listens (`listen`) and the last
message is older than a second. Nothing here changes what is computed.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, SupportsFloat

INTERVAL_SECONDS = 1.0  # at least, between two messages of a process
SHOWN_WAIT = 0.2  # fraction of the time; a shorter wait is not shown


@dataclass(frozen=True)
class State:
    """A unit of work in progress; what is not known is None."""

    name: str
    epoch: int | None = None  # counted from 1
    epochs: int | None = None
    loss: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    data_wait: float | None = None  # fraction of the epoch so far in which the loop waited for its next batch

    def __str__(self) -> str:
        parts = [self.name]
        if self.epoch is not None:
            parts.append(f"epoch {self.epoch}/{self.epochs}")
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3g}")
        if self.images_per_second is not None:
            parts.append(f"{self.images_per_second:,.0f} images/s")
        if self.seconds_left is not None:
            parts.append(f"{clock(self.seconds_left)} left")
        if self.data_wait is not None and self.data_wait >= SHOWN_WAIT:
            parts.append(f"waiting for data {self.data_wait:.0%} of the time")
        return "  ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that are known; a loss that is not finite is a text."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        return {
            name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in fields.items()
        }


class _Work:
    """The unit of work of this process, as its loops see it."""

    def __init__(self, name: str, send: Callable[[State | None], None]) -> None:
        self.name, self.send = name, send
        self.epoch: int | None = None  # counted from 0
        self.epochs: int | None = None
        self.done, self.done_first = (
            0.0,
            math.nan,
        )  # fraction of the work; at the first message a resumed one is above 0
        self.loss: SupportsFloat | None = None
        self.data_wait: float | None = None
        self.samples = 0
        self.sent = False
        self.started = self.last = time.monotonic()

    def report(self, now: float) -> None:
        speed = self.samples / (now - self.last) if self.samples else None
        progress = self.done - self.done_first
        left = (now - self.started) * (1 - self.done) / progress if progress > 0 else None
        epoch = None if self.epoch is None else min(self.epoch + 1, self.epochs or self.epoch + 1)
        loss = None if self.loss is None else float(self.loss)
        self.send(State(self.name, epoch, self.epochs, loss, speed, left, self.data_wait))
        self.sent, self.samples, self.last = True, 0, now


_send: Callable[[State | None], None] | None = None
_work: _Work | None = None


def listen(send: Callable[[State | None], None] | None) -> None:
    """Call `send` with the state of this process, at most once a second, and with None when its work ends."""
    global _send
    _send = send


@contextmanager
def working_on(name: str) -> Iterator[None]:
    """Announce a unit of work; inside another one, nothing changes."""
    global _work
    if _send is None or _work is not None:
        yield
        return
    _work = _Work(name, _send)
    try:
        yield
    finally:
        work, _work = _work, None
        if work.sent:
            work.send(None)


def advance(
    samples: int,
    *,
    loss: SupportsFloat | None = None,
    done: float | None = None,
    data_wait: float | None = None,
) -> None:
    """Count samples of a batch. `loss`: of the batch, read only if a message is due; `done`: fraction of the work."""
    if _work is None:
        return
    _work.samples += samples
    if loss is not None:
        _work.loss = loss
    if data_wait is not None:
        _work.data_wait = data_wait
    if done is not None:
        if math.isnan(_work.done_first):
            _work.done_first = done
        _work.done = done
    now = time.monotonic()
    if now - _work.last >= INTERVAL_SECONDS:
        _work.report(now)


def begin_epoch(epoch: int, epochs: int) -> None:
    """Set the epoch, counted from 0, of all `epochs`."""
    if _work is not None:
        _work.epoch, _work.epochs = epoch, epochs
        advance(0, done=epoch / epochs)


def clock(seconds: float) -> str:
    """Format seconds as m:ss, or as h:mm:ss from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
