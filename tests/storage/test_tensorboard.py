"""Folders of TensorBoard: there while the work runs, whole after it, one file each, on local and remote storages."""

import uuid

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from raybench.storage import events
from raybench.storage import tensorboard as module
from raybench.storage.store import Store
from raybench.storage.tensorboard import growing, keep_only, write_folder, write_missing

FOLDER = "run/tensorboard/a"


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "runs"))


@pytest.fixture
def points(tmp_path):
    """Return a function that reads one curve of a folder of a store, wherever it is, and checks that it is one file."""

    def read(store, folder=FOLDER, tag="loss"):
        copy = tmp_path / uuid.uuid4().hex
        copy.mkdir()
        keys = store.keys(folder)
        assert len(keys) <= 1
        for key in keys:
            (copy / key.rsplit("/")[-1]).write_bytes(store.read_bytes(key))
        found = EventAccumulator(str(copy)).Reload()
        return [(event.step, event.value) for event in found.Scalars(tag)] if tag in found.Tags()["scalars"] else []

    return read


@pytest.fixture(params=["local", "memory"])
def any_store(request, store, make_remote):
    return store if request.param == "local" else make_remote("memory")


def test_points_are_visible_while_the_work_goes_on(any_store, points, monkeypatch):
    monkeypatch.setattr(module, "LOCAL_SECONDS", 0)
    monkeypatch.setattr(module, "REMOTE_SECONDS", 0)
    with growing(any_store, FOLDER) as curves:
        for step, value in enumerate((3.0, 2.0, 1.0)):
            curves.log(step, {"loss": value, "accuracy": 0.5})
            assert points(any_store) == list(enumerate((3.0, 2.0, 1.0)))[: step + 1]
    assert points(any_store, tag="accuracy") == [(0, 0.5), (1, 0.5), (2, 0.5)]


def test_a_short_job_writes_nothing_before_its_end(store):
    with growing(store, FOLDER) as curves:
        curves.log(0, {"loss": 1.0})
    assert store.keys(FOLDER) == []


def test_points_before_an_error_are_kept(store, points):
    def work():
        with growing(store, FOLDER) as curves:
            curves.log(0, {"loss": 2.0})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert points(store) == [(0, 2.0)]


def test_a_resumed_job_replaces_what_the_killed_one_wrote_after_its_checkpoint(any_store, points):
    with growing(any_store, FOLDER) as curves:
        for step, value in enumerate((3.0, 2.0, 99.0)):
            curves.log(step, {"loss": value})
        curves.publish()
    with growing(any_store, FOLDER, [(0, {"loss": 3.0}), (1, {"loss": 2.0})]) as curves:
        curves.log(2, {"loss": 1.0})
        curves.publish()
    assert points(any_store) == [(0, 3.0), (1, 2.0), (2, 1.0)]


def test_a_complete_file_replaces_a_growing_one(any_store, points):
    with growing(any_store, FOLDER) as curves:
        curves.log(0, {"loss": 2.0})
        curves.publish()
    write_folder(any_store, FOLDER, [events.scalars(step, {"loss": step + 5.0}) for step in range(3)], version="0" * 8)
    assert points(any_store) == [(0, 5.0), (1, 6.0), (2, 7.0)]


def test_only_missing_growing_and_outdated_folders_are_written(any_store, points):
    def made(value):
        return lambda: [events.scalars(0, {"loss": value})]

    root = "run/tensorboard"
    write_folder(any_store, f"{root}/sweep/complete", made(1.0)(), version="aaaaaaaa")
    write_folder(any_store, f"{root}/sweep/outdated", made(1.0)(), version="bbbbbbbb")
    with growing(any_store, f"{root}/sweep/growing") as curves:
        curves.log(0, {"loss": 1.0})
        curves.publish()
    folders = {f"sweep/{name}": ("aaaaaaaa", made(2.0)) for name in ("complete", "outdated", "growing", "missing")}
    assert write_missing(any_store, root, folders) == 3
    assert write_missing(any_store, root, folders) == 0
    values = {
        name: points(any_store, f"{root}/sweep/{name}") for name in ("complete", "outdated", "growing", "missing")
    }
    assert values == {"complete": [(0, 1.0)]} | {key: [(0, 2.0)] for key in ("outdated", "growing", "missing")}


def test_folders_of_an_earlier_experiment_are_emptied(any_store):
    for name in ("kept", "sub/kept", "old", "sub/old"):
        any_store.write_bytes(f"run/tensorboard/{name}/events.out.tfevents.1", b"")
    keep_only(any_store, "run/tensorboard", ["kept", "sub/kept"])
    left = [name for name in ("kept", "sub/kept", "old", "sub/old") if any_store.keys(f"run/tensorboard/{name}")]
    assert left == ["kept", "sub/kept"]


def test_hyperparameters_of_any_type_reach_the_hparams_tab(store, tmp_path):
    values = {"lr": 0.1, "layers": [1, 2], "on": True, "none": None, "mixed": 3}
    columns = {"lr": [0.1, 1], "layers": [[1, 2]], "on": [True], "none": [None], "mixed": [3, "auto"]}
    rows = events.session(values, "STATUS_SUCCESS", texts=events.text_columns(columns))
    write_folder(store, FOLDER, rows, version="0" * 8)
    found = EventAccumulator(store.path(FOLDER)).Reload()
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = events.hparams.parse_session_start_info_plugin_data(content).hparams
    assert hparams["lr"].number_value == 0.1
    assert hparams["on"].bool_value is True
    assert [hparams[name].string_value for name in ("layers", "none", "mixed")] == ["[1, 2]", "None", "3"]
    assert events.text_columns(columns) == ("layers", "none", "mixed")
