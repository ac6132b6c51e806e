import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raybench.data.reading import atomic_folder, resident
from raybench.data.reading.resident import open_resident, save
from raybench.data.splits import make_splits
from raybench.errors import UserError


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name != "cache"]


@pytest.mark.parametrize("groups", [None, np.arange(60) // 2])
def test_what_was_saved_opens_equal_and_memory_mapped(make_data, tmp_path, groups):
    data = make_data(test=20, groups=groups)
    save(data, tmp_path / "deep" / "cache")
    again = open_resident(tmp_path / "deep" / "cache")
    assert again.fingerprint() == data.fingerprint()
    assert isinstance(again.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again.images[0] = 0
    sizes = {"train": 20, "test": 10}
    splits = make_splits(again, sizes, {"rule": "random", "count": 4}, 0)
    assert splits.to_table(again).equals(make_splits(data, sizes, {"rule": "random", "count": 4}, 0).to_table(data))


def test_saving_again_keeps_the_folder_and_other_data_is_refused(make_data, tmp_path):
    save(make_data(), tmp_path / "cache")
    before = (tmp_path / "cache" / "meta.json").stat().st_mtime_ns
    save(make_data(), tmp_path / "cache")
    assert (tmp_path / "cache" / "meta.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="contains another dataset"):
        save(make_data(seed=1), tmp_path / "cache")
    assert open_resident(tmp_path / "cache").fingerprint() == make_data().fingerprint()
    assert leftovers(tmp_path) == []


def test_a_folder_of_something_else_is_left_alone(make_data, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not a resident dataset"):
        save(make_data(), tmp_path / "cache")
    assert (tmp_path / "cache" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("damage", ["truncate", "remove", "shape", "meta", "no meta"])
def test_a_damaged_folder_is_refused_with_the_file_named(make_data, tmp_path, damage):
    folder = tmp_path / "cache"
    save(make_data(), folder)
    expected = "images.npy"
    if damage == "truncate":
        os.truncate(folder / "images.npy", 500)
    elif damage == "remove":
        (folder / "images.npy").unlink()
    elif damage == "shape":
        np.save(folder / "images.npy", np.zeros((59, 8, 8, 3), dtype=np.uint8))
    elif damage == "meta":
        (folder / "meta.json").write_text('{"format": 99}')
        expected = "meta.json"
    else:
        (folder / "meta.json").unlink()
        expected = "meta.json"
    with pytest.raises(UserError, match=expected):
        open_resident(folder)


def test_a_place_that_cannot_be_written_is_named(make_data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the dataset to .*file/cache"):
        save(make_data(), tmp_path / "file" / "cache")


def test_a_failed_write_leaves_nothing(make_data, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resident.np, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        save(make_data(), tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


def save_many(data, folder, barrier):
    barrier.wait()
    save(data, folder)


def test_writers_at_the_same_moment_all_succeed(make_data, tmp_path):
    data = make_data(3000)
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        barrier = context.Barrier(4)
        writers = [context.Process(target=save_many, args=(data, tmp_path / "cache", barrier)) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(30)
        assert [writer.exitcode for writer in writers] == [0] * 4
        assert open_resident(tmp_path / "cache").fingerprint() == data.fingerprint()
        assert leftovers(tmp_path) == []
        (tmp_path / "cache").rename(tmp_path.parent / f"{tmp_path.name}-{attempt}")


def save_and_stop_before_the_rename(data, folder):
    atomic_folder.os.rename = lambda *_: time.sleep(60)
    save(data, folder)


def test_a_killed_writer_leaves_no_dataset_and_its_rest_is_removed_later(make_data, tmp_path):
    data = make_data()
    writer = multiprocessing.get_context("fork").Process(
        target=save_and_stop_before_the_rename, args=(data, tmp_path / "cache")
    )
    writer.start()
    deadline = time.time() + 20
    while not list(tmp_path.glob(".cache.partial-*/meta.json")) and time.time() < deadline:
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    (partial,) = tmp_path.glob(".cache.partial-*")
    assert not (tmp_path / "cache").exists()

    save(data, tmp_path / "cache")
    assert open_resident(tmp_path / "cache").fingerprint() == data.fingerprint()
    assert partial.exists()  # it may be a living writer's

    old = time.time() - 2 * atomic_folder.STALE_SECONDS
    for path in [*partial.iterdir(), partial]:
        os.utime(path, (old, old))
    save(replace(data, mean=(0.1, 0.1, 0.1)), tmp_path / "other")
    assert partial.exists()  # of another folder
    (tmp_path / "cache").rename(Path(f"{tmp_path}-moved"))
    save(data, tmp_path / "cache")
    assert not partial.exists()
