"""Progress output of a run: one line per stage with the count, the elapsed time and an estimate of the time left.

While a stage runs, further lines say what the workers do.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from raybench.activity import State, clock
from raybench.errors import printable

INTERVAL_SECONDS = 5.0  # between progress lines when the output is a file or a job's log
QUIET_SECONDS = 15.0  # without a finished unit; then a line says what the workers do
POLL_SECONDS = 1.0
MOST_LINES = 4  # about workers
WIDE = 110  # columns of a terminal that has room for a result beside the bar

Source = Callable[[], Sequence[State]]


class Stage:
    """Progress of one stage: `advance` counts finished work, `line` formats the current state."""

    def __init__(self, name: str, unit: str, total: int, done: int) -> None:
        self.name, self.unit, self.total = name, unit, total
        self.done = self.cached = done
        self.note = ""
        self.states: Sequence[State] = ()  # what the workers do
        self.source: Source = lambda: ()
        self.on_advance: Callable[[], None] | None = None  # redraws the display
        self._started = time.monotonic()
        self._first_result: float | None = None  # when the first result arrived, and what was done by then
        self._done_at_first_result = 0

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Add finished work; `note`, if given, replaces the text at the end of the line."""
        self.done = min(self.total, self.done + count)
        if self._first_result is None:
            self._first_result, self._done_at_first_result = time.monotonic(), self.done
        if note is not None:
            self.note = note
        if self.on_advance is not None:
            self.on_advance()

    @property
    def elapsed(self) -> float:
        """Return the seconds since the stage started."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Return the estimated seconds left, from the pace since the first result (workers start up before it)."""
        counted = self.done - self._done_at_first_result
        if self._first_result is None or counted == 0 or self.done == self.total:
            return None
        return (time.monotonic() - self._first_result) / counted * (self.total - self.done)

    @property
    def left(self) -> str:
        """Return the estimated time left as text."""
        seconds = self.seconds_left
        return "" if seconds is None else f"{clock(seconds)} left"

    @property
    def cached_note(self) -> str:
        """Return how much of the work was in the storage when the stage started."""
        return f"({self.cached} cached)" if self.cached else ""

    def line(self) -> str:
        """Return the stage as one line of text."""
        cached = f"  {self.cached_note}" if self.cached else ""
        count = f"{self.done:>4}/{self.total} {self.unit:<22}"
        return f"{self.name:<9} {count} {clock(self.elapsed)}  {self.note or self.left}{cached}".rstrip()

    def worker_lines(self, most: int = MOST_LINES) -> list[str]:
        """Return what the workers do, one line each, at most `most`."""
        lines = [str(state) for state in self.states[:most]]
        further = len(self.states) - len(lines)
        return [*lines, f"and {further} more"] if further else lines


class Reporter:
    """Prints messages and stages: progress bars in a terminal, a line every few seconds elsewhere.

    A negative verbosity prints nothing.
    """

    def __init__(self, console: Console, *, verbosity: int = 0) -> None:
        self.console, self.verbosity = console, verbosity

    def print(self, text: str = "", *, least: int = 0) -> None:
        """Print a line of text if the verbosity is at least `least`."""
        if self.verbosity >= least:
            self.console.print(printable(text), highlight=False, markup=False, emoji=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, unit: str, *, total: int, done: int = 0) -> Iterator[Stage]:
        """Show the progress of a stage while the block runs; `done` counts work that the storage already holds."""
        stage = Stage(name, unit, total, done)
        if self.verbosity < 0:
            yield stage
        elif self.console.is_terminal:
            yield from self._bar(stage)
        else:
            yield from self._lines(stage)

    def _bar(self, stage: Stage) -> Iterator[Stage]:
        wide, running = self.console.width >= WIDE, True
        columns = (
            TextColumn(f"{stage.name:<9}", markup=False),
            BarColumn(bar_width=20 if wide else 8),
            TextColumn(f"{{task.completed:>4.0f}}/{stage.total} {stage.unit}", markup=False),
            TextColumn("{task.fields[clock]}  {task.fields[note]}", markup=False),
            SpinnerColumn(finished_text=" "),
        )
        progress = Progress(*columns, console=self.console, auto_refresh=False)
        task = progress.add_task(stage.name, total=stage.total, completed=stage.done, clock="", note="")

        def render() -> RenderableType:
            result = f"{stage.note} {stage.cached_note}".strip()
            below = [stage.note, *stage.worker_lines()] if running else [] if wide else [result]
            note = stage.left if running else result if wide else ""
            progress.update(task, completed=stage.done, clock=clock(stage.elapsed), note=note)
            lines = [Text(f"  {text}", style="dim", no_wrap=True, overflow="ellipsis") for text in below if text]
            return Group(progress.get_renderable(), *lines)

        with Live(console=self.console, get_renderable=render, refresh_per_second=4):
            with polled(stage):
                yield stage
            running = False

    def _lines(self, stage: Stage) -> Iterator[Stage]:
        last = time.monotonic()

        def show() -> None:
            nonlocal last
            if time.monotonic() - last >= INTERVAL_SECONDS and stage.done < stage.total:
                self.print(f"{stage.line()}{'  ' + stage.left if stage.note else ''}")
                last = time.monotonic()

        def show_workers() -> None:
            nonlocal last
            if time.monotonic() - last >= QUIET_SECONDS and stage.states:
                last = time.monotonic()
                self.print(f"{stage.line()}   {'; '.join(stage.worker_lines(1))}")

        stage.on_advance = show
        with polled(stage, show_workers):
            yield stage
        self.print(stage.line())


@contextmanager
def polled(stage: Stage, then: Callable[[], None] | None = None) -> Iterator[None]:
    """Read what the workers do every second, in a thread, while the block runs, and call `then` after each time."""
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(POLL_SECONDS):
            stage.states = stage.source()
            if then is not None and not ended.is_set():
                then()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5 * POLL_SECONDS)  # a lost Ray may not answer


SILENT = Reporter(Console(), verbosity=-1)
