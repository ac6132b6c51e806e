"""What a person sees while a run goes on: one line per stage, with what is done, what is left, how long it takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

INTERVAL_SECONDS = 5.0  # between lines where the output is a file or a job's log


class Stage:
    """One stage's line."""

    def __init__(self, name: str, unit: str, total: int, done: int) -> None:
        self.name, self.unit, self.total = name, unit, total
        self.done = self.kept = done
        self.note = ""
        self.started = time.monotonic()
        self.first: float | None = None  # when the first result came, and what was done then
        self.first_done = 0

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Count finished work; `note` replaces the remark at the end of the line."""
        self.done = min(self.total, self.done + count)
        if self.first is None:
            self.first, self.first_done = time.monotonic(), self.done
        if note is not None:
            self.note = note

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> str:
        """Return the time left, judged by the pace since the first result: before it, workers were starting."""
        worked = self.done - self.first_done
        if self.first is None or worked == 0 or self.done == self.total:
            return ""
        return f"{clock((time.monotonic() - self.first) / worked * (self.total - self.done))} left"

    def line(self) -> str:
        kept = f"  ({self.kept} were there)" if self.kept else ""
        count = f"{self.done:>4}/{self.total} {self.unit:<22}"
        return f"{self.name:<9} {count} {clock(self.elapsed)}  {self.note or self.left}{kept}".rstrip()


class Reporter:
    """Prints stages: bars in a terminal, a line every few seconds elsewhere, nothing when quiet."""

    def __init__(self, console: Console, *, verbosity: int = 0) -> None:
        self.console, self.verbosity = console, verbosity

    def say(self, text: str = "", *, least: int = 0) -> None:
        """Print a line of normal text unless the run is quieter than `least`."""
        if self.verbosity >= least:
            self.console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, unit: str, *, total: int, done: int = 0) -> Iterator[Stage]:
        """Show one stage while the block runs."""
        stage = Stage(name, unit, total, done)
        if self.verbosity < 0:
            yield stage
        elif self.console.is_terminal:
            yield from self._bar(stage)
        else:
            yield from self._lines(stage)

    def _bar(self, stage: Stage) -> Iterator[Stage]:
        columns = (
            TextColumn(f"{stage.name:<9}"),
            BarColumn(bar_width=20),
            TextColumn(f"{{task.completed:>4.0f}}/{stage.total} {stage.unit:<22}"),
            TextColumn("{task.fields[clock]}  {task.fields[note]}"),
            SpinnerColumn(finished_text=" "),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(stage.name, total=stage.total, completed=stage.done, clock="", note="")
            advance = stage.advance

            def show(count: int = 1, note: str | None = None) -> None:
                advance(count, note)
                progress.update(task, completed=stage.done, clock=clock(stage.elapsed), note=stage.note or stage.left)

            stage.advance = show  # type: ignore[method-assign]
            yield stage
            kept = f"({stage.kept} were there)" if stage.kept else ""
            note = f"{stage.note} {kept}".strip()
            progress.update(task, completed=stage.done, clock=clock(stage.elapsed), note=note)

    def _lines(self, stage: Stage) -> Iterator[Stage]:
        last = time.monotonic()
        advance = stage.advance

        def show(count: int = 1, note: str | None = None) -> None:
            nonlocal last
            advance(count, note)
            if time.monotonic() - last >= INTERVAL_SECONDS and stage.done < stage.total:
                self.say(f"{stage.line()}{'  ' + stage.left if stage.note else ''}")
                last = time.monotonic()

        stage.advance = show  # type: ignore[method-assign]
        yield stage
        self.say(stage.line())


def clock(seconds: float) -> str:
    """Return seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


SILENT = Reporter(Console(), verbosity=-1)
