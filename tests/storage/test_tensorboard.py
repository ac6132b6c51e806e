"""Curves in TensorBoard: there while the work runs, on local and remote storages."""

import uuid

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from raybench.storage.store import Store
from raybench.storage.tensorboard import board


def points(folder, tag="loss"):
    return {event.step: event.value for event in EventAccumulator(str(folder)).Reload().Scalars(tag)}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "runs"))


def test_points_are_readable_after_the_block_and_after_an_error(store):
    def work():
        with board(store, "run/tensorboard/a") as curves:
            curves.log(0, {"loss": 2.0, "accuracy": 0.5})
            curves.log(1, {"loss": 1.0})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert points(store.path("run/tensorboard/a")) == {0: 2.0, 1: 1.0}


def test_points_are_visible_while_the_work_goes_on(store):
    with board(store, "run/tensorboard/a") as curves:
        curves.log(0, {"loss": 2.0})
        curves.publish()
        assert points(store.path("run/tensorboard/a")) == {0: 2.0}


def test_a_resumed_run_hides_what_a_killed_one_wrote_after_its_checkpoint(store):
    with board(store, "run/tensorboard/a") as curves:
        for step, value in enumerate((3.0, 2.0, 99.0)):
            curves.log(step, {"loss": value})
    with board(store, "run/tensorboard/a", purge_step=2) as curves:
        curves.log(2, {"loss": 1.0})
    assert points(store.path("run/tensorboard/a")) == {0: 3.0, 1: 2.0, 2: 1.0}


def test_hyperparameters_of_any_type_reach_the_hparams_tab(store):
    with board(store, "run/tensorboard/a") as curves:
        curves.hyperparameters({"lr": 0.1, "layers": [1, 2], "on": True, "none": None}, {"gap": 0.5})
    found = EventAccumulator(store.path("run/tensorboard/a")).Reload()
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    for name in (b"lr", b"layers", b"[1, 2]", b"None"):
        assert name in content
    assert points(store.path("run/tensorboard/a"), "gap") == {0: 0.5}


def test_curves_reach_a_remote_storage_point_by_point(tmp_path):
    store = Store(f"fsspec+memory://{uuid.uuid4().hex}/runs")

    def fetched():
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        for key in store.keys("run/tensorboard/a"):
            (folder / key.rsplit("/")[-1]).write_bytes(store.read_bytes(key))
        return points(folder)

    with board(store, "run/tensorboard/a") as curves:
        curves.log(0, {"loss": 2.0})
        assert fetched() == {0: 2.0}
        curves.log(1, {"loss": 1.0})
    assert fetched() == {0: 2.0, 1: 1.0}
