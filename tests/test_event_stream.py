"""Progress for programs: every line is a JSON object, with what docs/events.md says."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from raybench import event_stream, progress
from raybench.activity import State
from raybench.event_stream import EventStream

DOCUMENTED = (Path(__file__).parents[1] / "docs" / "events.md").read_text()


@pytest.fixture
def stream(monkeypatch):
    monkeypatch.setattr(event_stream, "STAGE_SECONDS", 0)
    monkeypatch.setattr(event_stream, "WORK_SECONDS", 0)
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.01)
    return EventStream(io.StringIO(), Console(file=io.StringIO()))


def events(stream):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in stream._stream.getvalue().splitlines()]


def test_a_stage_has_a_start_progress_and_an_end(stream):
    with stream.stage("train", "models", total=3, done=1) as stage:
        stage.advance(1, "best 0.5")
        stage.advance()
    found = events(stream)
    assert [event["status"] for event in found] == ["started", "running", "running", "finished"]
    assert [event["done"] for event in found] == [1, 2, 3, 3]
    assert found[-1] | {"time": 0, "seconds": 0} == {
        "event": "stage",
        "time": 0,
        "stage": "train",
        "status": "finished",
        "unit": "models",
        "done": 3,
        "total": 3,
        "cached": 1,
        "seconds": 0,
        "seconds_left": None,
        "note": "best 0.5",
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", event["time"]) for event in found)


def test_what_the_workers_do_is_an_event(stream):
    with stream.stage("train", "models", total=1) as stage:
        stage.source = lambda: [State("train original", 3, 40, float("nan"), 812.5, 12.0)]
        while not any(event["event"] == "work" for event in events(stream)):
            pass
    work = next(event for event in events(stream) if event["event"] == "work")
    expected = {"name": "train original", "epoch": 3, "epochs": 40, "loss": "nan"}
    assert work["workers"] == [expected | {"images_per_second": 812.5, "seconds_left": 12.0}]


def test_messages_are_events_and_text_for_people(stream):
    stream.print("raybench  quickstart\n")
    stream.print()
    stream.print("details", least=1)
    assert [(event["event"], event["text"]) for event in events(stream)] == [("message", "raybench  quickstart")]
    assert "quickstart" in stream.console.file.getvalue()


def test_numbers_that_are_not_finite_become_null(stream):
    stream.emit("result", values=[1.0, float("nan"), {"high": float("inf")}])
    assert events(stream)[0]["values"] == [1.0, None, {"high": None}]


@pytest.mark.parametrize("event", ["start", "message", "stage", "work", "result", "error"])
def test_every_event_is_documented(event):
    assert f"\n### {event}\n" in DOCUMENTED
