"""Progress output of a run: one line per stage with the count, the elapsed time and an estimate of the time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from raybench.errors import printable

INTERVAL_SECONDS = 5.0  # between progress lines when the output is a file or a job's log


class Stage:
    """Progress of one stage: `advance` counts finished work, `line` formats the current state."""

    def __init__(self, name: str, unit: str, total: int, done: int) -> None:
        self.name, self.unit, self.total = name, unit, total
        self.done = self.cached = done
        self.note = ""
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
    def left(self) -> str:
        """Return the estimated time left, from the pace since the first result (workers start up before it)."""
        counted = self.done - self._done_at_first_result
        if self._first_result is None or counted == 0 or self.done == self.total:
            return ""
        seconds_per_unit = (time.monotonic() - self._first_result) / counted
        return f"{clock(seconds_per_unit * (self.total - self.done))} left"

    @property
    def cached_note(self) -> str:
        """Return how much of the work was in the storage when the stage started."""
        return f"({self.cached} cached)" if self.cached else ""

    def line(self) -> str:
        """Return the stage as one line of text."""
        cached = f"  {self.cached_note}" if self.cached else ""
        count = f"{self.done:>4}/{self.total} {self.unit:<22}"
        return f"{self.name:<9} {count} {clock(self.elapsed)}  {self.note or self.left}{cached}".rstrip()


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
        columns = (
            TextColumn(f"{stage.name:<9}", markup=False),
            BarColumn(bar_width=20),
            TextColumn(f"{{task.completed:>4.0f}}/{stage.total} {stage.unit:<22}", markup=False),
            TextColumn("{task.fields[clock]}  {task.fields[note]}", markup=False),
            SpinnerColumn(finished_text=" "),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(stage.name, total=stage.total, completed=stage.done, clock="", note="")

            def show(note: str) -> None:
                progress.update(task, completed=stage.done, clock=clock(stage.elapsed), note=note)

            stage.on_advance = lambda: show(stage.note or stage.left)
            yield stage
            show(f"{stage.note} {stage.cached_note}".strip())

    def _lines(self, stage: Stage) -> Iterator[Stage]:
        last = time.monotonic()

        def show() -> None:
            nonlocal last
            if time.monotonic() - last >= INTERVAL_SECONDS and stage.done < stage.total:
                self.print(f"{stage.line()}{'  ' + stage.left if stage.note else ''}")
                last = time.monotonic()

        stage.on_advance = show
        yield stage
        self.print(stage.line())


def clock(seconds: float) -> str:
    """Format seconds as m:ss, or as h:mm:ss from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


SILENT = Reporter(Console(), verbosity=-1)
