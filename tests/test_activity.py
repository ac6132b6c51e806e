"""What a process works on: counted always, sent at most once a second, never part of the computation."""

import math

import pytest
import torch

from raybench import activity
from raybench.activity import State


@pytest.fixture
def sent(monkeypatch):
    """Listen, on a clock that the test moves; return the messages and the clock."""
    messages, now = [], [100.0]
    monkeypatch.setattr(activity.time, "monotonic", lambda: now[0])
    activity.listen(messages.append)
    yield messages, now
    activity.listen(None)


def test_a_message_has_epoch_loss_speed_and_time_left(sent):
    messages, now = sent
    with activity.working_on("train original"):
        activity.begin_epoch(0, 4)
        for batch in range(4):
            now[0] += 0.5
            activity.advance(100, loss=torch.tensor(0.25), done=(batch + 1) / 8)
        activity.begin_epoch(2, 4)
    assert [message and message.epoch for message in messages] == [1, 1, None]
    assert messages[1] == State("train original", 1, 4, 0.25, 200.0, pytest.approx(2.0))
    assert str(messages[1]) == "train original  epoch 1/4  loss 0.25  200 images/s  0:02 left"


def test_a_training_that_waits_for_its_data_says_so(sent):
    messages, now = sent
    with activity.working_on("train original"):
        for wait in (0.5, 0.1):
            now[0] += 1
            activity.advance(100, data_wait=wait)
    assert str(messages[0]) == "train original  100 images/s  waiting for data 50% of the time"
    assert str(messages[1]) == "train original  100 images/s"
    assert messages[1].as_dict()["data_wait"] == 0.1


def test_at_most_one_message_a_second_and_no_loss_is_read_between(sent):
    messages, now = sent
    reads = []

    class Loss:
        def __float__(self):
            reads.append(now[0])
            return 1.0

    with activity.working_on("trial"):
        for _ in range(1000):
            now[0] += 0.01
            activity.advance(1, loss=Loss())
    assert len(messages) - 1 == len(reads) <= 10
    assert messages[-1] is None


def test_a_short_unit_sends_nothing(sent):
    messages, now = sent
    with activity.working_on("predict"):
        now[0] += 0.9
        activity.advance(10)
    assert messages == []


def test_the_time_left_of_resumed_work_counts_only_its_own_part(sent):
    messages, now = sent
    with activity.working_on("train original"):
        activity.begin_epoch(50, 100)
        now[0] += 10
        activity.advance(1, done=0.6)
    assert messages[0].seconds_left == pytest.approx(40)


def test_work_inside_work_belongs_to_the_outer_one(sent):
    messages, now = sent
    with activity.working_on("trial"), activity.working_on("train"):
        now[0] += 2
        activity.advance(10)
    assert [message and message.name for message in messages] == ["trial", None]


def test_without_a_listener_nothing_happens():
    with activity.working_on("trial"):
        activity.begin_epoch(0, 2)
        activity.advance(1, loss=torch.tensor(1.0), done=0.5)


def test_a_diverged_loss_is_no_number_in_json():
    assert State("trial", loss=math.inf).as_dict() == {"name": "trial", "loss": "inf"}
    assert "loss nan" in str(State("trial", loss=math.nan))
