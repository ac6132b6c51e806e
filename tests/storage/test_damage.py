"""Damaged artifacts are named in one sentence and moved aside; files reach the disk before their names do."""

import io
import os
import pickle
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from raybench.storage import durable
from raybench.storage.errors import DamagedError, StorageError
from raybench.storage.read_only import ReadOnlyStore, open_for_report
from raybench.storage.store import Store


def weights(value=1.0):
    buffer = io.BytesIO()
    torch.save({"weight": torch.full((10,), value)}, buffer)
    return buffer.getvalue()


@pytest.fixture(params=["local", "remote"])
def store(request, tmp_path):
    return Store(str(tmp_path / "runs") if request.param == "local" else f"fsspec+memory://{uuid.uuid4().hex}/runs")


def flip(store, key, position=None):
    """Change one bit in the middle of a file."""
    data = bytearray(store.read_bytes(key))
    data[len(data) // 2 if position is None else position] ^= 1
    store.write_bytes(key, bytes(data))


def write(store, key):
    if key.endswith(".json"):
        store.write_json(key, {"value": 3})
        return store.read_json
    if key.endswith(".pt"):
        store.write_archive(key, weights())
        return store.read_archive
    store.write_table(key, pa.table({"x": [1.0, 2.0]}))
    return store.read_table


KEYS = ("artifacts/trials/abc.json", "artifacts/models/abc.pt", "artifacts/scores/abc.parquet", "run/manifest.json")


@pytest.mark.parametrize("key", KEYS)
def test_a_damaged_file_is_named_in_one_sentence_and_set_aside(store, key):
    read = write(store, key)
    read(key)
    flip(store, key)
    with pytest.raises(DamagedError) as caught:
        read(key)
    message = str(caught.value)
    assert key in message
    assert "damaged" in message
    assert "`raybench run` makes it again" in message
    assert "\n" not in message
    assert caught.value.artifact == key
    assert not store.exists(key)
    assert store.exists(f"damaged/{key}")
    write(store, key)(key)


def test_what_belongs_to_a_damaged_file_is_set_aside_with_it(store):
    for damaged, belongs in (
        ("artifacts/models/a.pt", "artifacts/models/a.json"),
        ("artifacts/models/b.json", "artifacts/models/b.pt"),
        ("artifacts/scores/a-samples.parquet", "artifacts/scores/a.parquet"),
        ("artifacts/scores/b.parquet", "artifacts/scores/b-samples.parquet"),
    ):
        write(store, belongs)
        read = write(store, damaged)
        flip(store, damaged)
        with pytest.raises(DamagedError):
            read(damaged)
        assert not store.exists(belongs)
        assert store.exists(f"damaged/{belongs}")
    assert store.keys("artifacts/models") == store.keys("artifacts/scores") == []


def test_a_neighbor_with_a_similar_name_stays(store):
    for name in ("retain-abc-0", "retain-abc-65536", "retain-abd-0"):
        write(store, f"artifacts/predictions/m/{name}.parquet")
    flip(store, "artifacts/predictions/m/retain-abc-0.parquet")
    with pytest.raises(DamagedError):
        store.read_table("artifacts/predictions/m/retain-abc-0.parquet")
    assert len(store.keys("artifacts/predictions/m")) == 2


def test_the_record_of_a_missing_model_is_set_aside(store):
    store.write_json("artifacts/models/a.json", {"key": "a"})
    with pytest.raises(DamagedError, match=r"a\.pt is missing"):
        store.read_archive("artifacts/models/a.pt")
    assert not store.exists("artifacts/models/a.json")


def test_a_missing_artifact_takes_its_record_with_it_and_other_missing_files_do_not_matter(store):
    write(store, "artifacts/scores/a.parquet")
    with pytest.raises(DamagedError, match=r"a-samples\.parquet is missing"):
        store.read_table("artifacts/scores/a-samples.parquet")
    assert store.keys("artifacts/scores") == []
    with pytest.raises(FileNotFoundError):
        store.read_json("run/manifest.json")


def test_a_file_of_another_program_is_no_artifact(store):
    store.write_bytes("artifacts/trials/a.json", b'{"status": "finished"}')
    with pytest.raises(DamagedError, match="no checksum"):
        store.read_json("artifacts/trials/a.json")


def test_the_error_survives_the_way_from_a_worker():
    error = pickle.loads(pickle.dumps(DamagedError("a is damaged", "a")))
    assert (str(error), error.artifact) == ("a is damaged", "a")


def test_a_file_that_another_process_replaced_in_time_is_read_again(store, monkeypatch):
    write(store, "a.json")
    intact = store.read_bytes("a.json")
    answers = [pa.py_buffer(intact[:-3]), pa.py_buffer(intact)]
    monkeypatch.setattr(Store, "_read", lambda self, key: answers.pop(0))
    assert store.read_json("a.json") == {"value": 3}
    assert store.exists("a.json")


# -- shared tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.5, 0.0, None])
def test_half_a_shared_table_is_shared_again(store, keep):
    write(store, "artifacts/predictions/m/a.parquet")
    store.share("artifacts/predictions/m/a.parquet", "run/tables/a.parquet")
    whole = store.read_bytes("run/tables/a.parquet")
    changed = whole[: int(keep * len(whole))] if keep is not None else whole[:-40] + b"x" * 40
    store.write_bytes("run/tables/a.parquet", changed)
    store.share("artifacts/predictions/m/a.parquet", "run/tables/a.parquet")
    assert store.read_bytes("run/tables/a.parquet") == whole


def test_half_a_table_is_not_shared(store):
    source = "artifacts/predictions/m/a.parquet"
    write(store, source)
    store.write_bytes(source, store.read_bytes(source)[:-50])
    with pytest.raises(DamagedError, match="cut off"):
        store.share(source, "run/tables/a.parquet")
    assert not store.exists(source)
    assert not store.exists("run/tables/a.parquet")


# -- the order in which things reach the disk --------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names open files through /proc")
def test_a_file_is_synced_before_its_rename_and_its_folder_after_it(tmp_path, monkeypatch):
    store, events = Store(str(tmp_path)), []
    replace, fsync, fdatasync = os.replace, os.fsync, os.fdatasync

    def name(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(f"{tmp_path}/")
        return "partial" if path.startswith(".partial/") else path

    monkeypatch.setattr(os, "fsync", lambda d: (events.append(("sync", name(d))), fsync(d)))
    monkeypatch.setattr(os, "fdatasync", lambda d: (events.append(("sync", name(d))), fdatasync(d)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(("rename", b)), replace(a, b)))
    for key in ("a/b.json", "a/b.pt", "a/b.parquet"):
        events.clear()
        write(store, key)
        durable.wait_for_folders(10)
        assert events == [("sync", "partial"), ("rename", store.path(key)), ("sync", "a")]
    events.clear()
    store.write_json("a/b.partial", {}, durable=False)  # progress that is lost with the power is made again
    assert events == []


# -- storage that cannot be written ------------------------------------------------------------------------------------

READ = """
import os, sys
from raybench.storage.read_only import ReadOnlyStore, open_for_report
if os.geteuid() == 0:  # root may write anywhere
    os.seteuid(65534)
store = open_for_report(sys.argv[1])
assert isinstance(store, ReadOnlyStore)
assert store.read_json("run/manifest.json") == {"value": 3}
store.write_json("run/new.json", {})
store.delete("run/manifest.json")
try:
    store.read_json("run/bad.json")
except ValueError as error:
    print(error)
"""


def test_a_storage_that_cannot_be_written_can_be_read():
    folder = Path("/tmp") / f"read-only-{uuid.uuid4().hex}"
    try:
        store = Store(str(folder))
        write(store, "run/manifest.json")
        store.write_bytes("run/bad.json", b"{}")
        for path in (folder / "run", folder / ".partial", folder):
            path.chmod(0o555)
        done = subprocess.run([sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "bad.json is damaged" in done.stdout
        assert "cannot be written" in done.stdout
        assert sorted(p.name for p in (folder / "run").iterdir()) == ["bad.json", "manifest.json"]
    finally:
        for path in (folder / "run", folder / ".partial", folder):
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_storage_that_can_be_written_is_an_ordinary_one(tmp_path):
    store = open_for_report(str(tmp_path))
    assert not isinstance(store, ReadOnlyStore)
    assert isinstance(DamagedError("a", "a"), StorageError)


def test_passwords_in_a_storage_uri_are_not_shown():
    store = Store("fsspec+memory://user:secret@bucket/runs")
    assert "secret" not in store.shown
    with pytest.raises(DamagedError) as caught:
        store.read_archive("artifacts/models/a.pt")
    assert "secret" not in str(caught.value)
