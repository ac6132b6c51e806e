"""Progress for programs: one JSON object per line instead of text (`raybench run --json`).

The events and their fields are described in docs/events.md. Fields may be added; existing ones keep their meaning.
"""

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console

from raybench.errors import printable
from raybench.progress import Reporter, Stage, polled

SCHEMA = 1
STAGE_SECONDS, WORK_SECONDS = 1.0, 5.0  # at least, between two events of a stage


class EventStream(Reporter):
    """Writes events to a stream; what is meant for people goes to `console`."""

    def __init__(self, stream: TextIO, console: Console, *, verbosity: int = 0) -> None:
        super().__init__(console, verbosity=verbosity)
        self._stream, self._lock = stream, threading.Lock()  # workers are reported from a thread

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event; numbers that are not finite become null."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            self._stream.write(json.dumps(_plain({"event": event, "time": now, **fields})) + "\n")
            self._stream.flush()

    def print(self, text: str = "", *, least: int = 0) -> None:
        """Print a line of text for people, and write it as an event."""
        super().print(text, least=least)
        if text.strip() and self.verbosity >= least:
            self.emit("message", text=printable(text.strip()))

    @contextmanager
    def stage(self, name: str, unit: str, *, total: int, done: int = 0) -> Iterator[Stage]:
        """Write an event when the stage starts, at most once a second while it runs, and when it ends."""
        stage = Stage(name, unit, total, done)
        last = {"stage": time.monotonic(), "work": time.monotonic()}

        def due(event: str, seconds: float) -> bool:
            if time.monotonic() - last[event] < seconds:
                return False
            last[event] = time.monotonic()
            return True

        def emit(status: str) -> None:
            left = stage.seconds_left
            counts = {"unit": unit, "done": stage.done, "total": total, "cached": stage.cached}
            seconds = {"seconds": round(stage.elapsed, 1), "seconds_left": None if left is None else round(left, 1)}
            self.emit("stage", stage=name, status=status, **counts, **seconds, note=stage.note or None)

        def advanced() -> None:
            if due("stage", STAGE_SECONDS):
                emit("running")

        def working() -> None:
            if stage.states and due("work", WORK_SECONDS):
                self.emit("work", stage=name, workers=[state.as_dict() for state in stage.states])

        emit("started")
        stage.on_advance = advanced
        with polled(stage, working):
            yield stage
        emit("finished")


def _plain(value: Any) -> Any:
    """Return a value that every JSON parser reads: without NaN and infinities."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
