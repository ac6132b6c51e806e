"""Progress lines outside a terminal, bars in one, and nothing when quiet."""

import io

import pytest
from rich.console import Console

from raybench.activity import clock
from raybench.errors import printable
from raybench.progress import Reporter


def output_of(*, terminal: bool = False, verbosity: int = 0, done: int = 0) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120)
    reporter = Reporter(console, verbosity=verbosity)
    with reporter.stage("train", "models", total=4, done=done) as stage:
        for _ in range(4 - done):
            stage.advance(1, "best 0.5")
    reporter.print("finished")
    reporter.print("details", least=1)
    return stream.getvalue()


def test_a_stage_ends_in_one_line_with_its_count_and_what_was_cached():
    first, *rest = output_of(done=3).splitlines()
    assert first.split() == ["train", "4/4", "models", "0:00", "best", "0.5", "(3", "cached)"]
    assert rest == ["finished"]
    assert "cached" not in output_of()


def test_a_terminal_gets_a_bar():
    assert "4/4 models" in output_of(terminal=True)
    assert "best 0.5 (1 cached)" in output_of(terminal=True, done=1)


def test_verbosity_decides_what_is_printed():
    assert output_of(verbosity=-1) == ""
    assert output_of(verbosity=1).endswith("finished\ndetails\n")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (75, "1:15"), (3661, "1:01:01")])
def test_a_time_is_minutes_and_seconds_or_hours(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_names_and_paths_are_no_markup(terminal):
    text = "data[/x]/[red]a[/red]/:smile:/[link=http://x]y"
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal, color_system=None)
    reporter = Reporter(console)
    reporter.print(text)
    with reporter.stage("train", "models [/x]", total=1) as stage:
        stage.advance(note=text)
    assert console.file.getvalue().count(text) >= 2


def test_control_characters_are_written_out():
    assert printable("a\x1b[2Jb\x07\tc\nd\x9b") == "a\\x1b[2Jb\\x07\tc\nd\\x9b"
