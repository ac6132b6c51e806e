"""The store: whole files or none, whoever is killed; one driver per run; failures that say what to do."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raybench.storage.store as module
from raybench.storage import partial
from raybench.storage.errors import StorageError
from raybench.storage.store import Store, fingerprint

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def rows(n, value=0.0):
    return pa.table({"x": np.full(n, value)})


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "runs"))


@pytest.fixture
def remote():
    """A filesystem that is not a local disk: fsspec's memory, by URI."""
    return Store(f"fsspec+memory://{uuid.uuid4().hex}/runs")


def child(code, *arguments):
    """Start a Python that has a store at its first argument."""
    modules = "import sys, time, numpy as np, pyarrow as pa\nfrom raybench.storage.store import Store\n"
    prelude = modules + "store = Store(sys.argv[1])\n"
    command = [sys.executable, "-c", prelude + code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.001)


# -- fingerprints ------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(value=st.dictionaries(st.text(max_size=3), VALUES, min_size=2, max_size=4))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(value):
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))
    assert len(fingerprint(value)) == 16


@settings(max_examples=50, deadline=None)
@given(one=VALUES, other=VALUES)
def test_fingerprints_differ_exactly_where_the_values_do(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) == same


def test_parts_are_not_run_together():
    assert len({fingerprint("ab", "c"), fingerprint("a", "bc"), fingerprint("abc"), fingerprint(["ab", "c"])}) == 4


def test_a_value_without_a_plain_form_is_refused_rather_than_printed():
    with pytest.raises(TypeError, match="cannot fingerprint a set"):
        fingerprint({1, 2})


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["local", "uri", "remote"])
def test_what_is_written_is_read_back_on_every_kind_of_filesystem(kind, tmp_path, remote):
    store = {
        "local": lambda: Store(str(tmp_path)),
        "uri": lambda: Store(f"file://{tmp_path}"),
        "remote": lambda: remote,
    }[kind]()
    assert store.is_local == (kind != "remote")
    assert not store.exists("a/b.json")
    store.write_json("a/b.json", {"x": [1, 2]})
    store.write_bytes("a/c.txt", b"words")
    store.write_table("a/d.parquet", rows(3))
    assert store.read_json("a/b.json") == {"x": [1, 2]}
    assert store.read_bytes("a/c.txt") == b"words"
    assert store.read_table("a/d.parquet", columns=["x"]).num_rows == 3
    assert store.keys("a") == ["a/b.json", "a/c.txt", "a/d.parquet"]
    assert store.keys("a", suffix=".json") == ["a/b.json"]
    assert store.keys("nothing/here") == []
    store.write_table("a/d.parquet", rows(2))
    store.share("a/d.parquet", "elsewhere/d.parquet")
    store.delete("a/d.parquet")
    store.delete("a/d.parquet")
    assert not store.exists("a/d.parquet")
    assert store.read_table("elsewhere/d.parquet").num_rows == 2
    assert store.keys(partial.FOLDER) == []


def test_a_worker_gets_the_same_store_from_a_pickle(store, remote):
    for one in (store, remote):
        one.write_bytes("x", b"1")
        assert pickle.loads(pickle.dumps(one)).read_bytes("x") == b"1"


def test_a_local_share_takes_no_second_copy(store):
    store.write_table("a", rows(1000))
    store.share("a", "b/c")
    assert os.stat(store.path("a")).st_ino == os.stat(store.path("b/c")).st_ino


def test_sharing_works_where_the_filesystem_has_no_hard_links(store, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    store.write_table("a", rows(3))
    store.share("a", "b/c")
    assert store.read_table("b/c").num_rows == 3
    assert os.stat(store.path("a")).st_ino != os.stat(store.path("b/c")).st_ino


def test_a_missing_file_is_the_callers_business_and_no_storage_failure(store):
    with pytest.raises(FileNotFoundError):
        store.read_bytes("nothing")


# -- atomic ------------------------------------------------------------------------------------------------------------


def test_a_writer_that_raises_leaves_the_old_content_and_no_partial_file(store, monkeypatch):
    store.write_table("t.parquet", rows(3))

    def half(table, stream):
        stream.write(b"PAR1 and then nothing")
        raise RuntimeError("interrupted")

    monkeypatch.setattr(module.seals, "write_parquet", half)
    with pytest.raises(RuntimeError, match="interrupted"):
        store.write_table("t.parquet", rows(5))
    assert store.read_table("t.parquet").num_rows == 3
    assert store.keys(partial.FOLDER) == []


def test_a_kill_in_the_middle_of_a_parquet_write_loses_that_file_only(store):
    store.write_table("artifacts/old.parquet", rows(3))
    code = (
        "big = pa.table({'x': np.random.default_rng(0).random(8_000_000)})\n"
        "store.write_table(sys.argv[2], big)\n"
        "store.write_table('artifacts/late.parquet', big)\n"
    )
    partials = Path(store.path(partial.FOLDER))
    for key in ("artifacts/new.parquet", "artifacts/old.parquet"):
        with child(code, store.uri, key) as writer:
            wait_for(lambda: writer.poll() is not None or any(p.stat().st_size > 100_000 for p in partials.glob("*")))
            store.sweep_partial()
            assert len(list(partials.glob("*"))) == 1  # of a writer that is alive
            writer.send_signal(signal.SIGKILL)
            assert writer.wait() == -signal.SIGKILL
        left = list(partials.glob("*"))
        assert len(left) == 1
        with pytest.raises(pa.ArrowInvalid):  # it really was half a file
            pq.read_table(left[0])
        assert store.keys("artifacts") == ["artifacts/old.parquet"]
        assert store.read_table("artifacts/old.parquet").num_rows == 3
        store.sweep_partial()
        assert list(partials.glob("*")) == []


def test_partial_files_of_other_machines_are_removed_a_day_later(store):
    names = [
        Path(partial.new_key()).name,
        f"0123456789ab-{2**22}-{uuid.uuid4().hex}",
        uuid.uuid4().hex,
        "-7-a",
        "x-y-z",
    ]
    for name in names:
        store.write_bytes(f"{partial.FOLDER}/{name}", b"half")
    assert not any(partial.is_abandoned(name) for name in names)
    store.sweep_partial(older_than_seconds=3600)
    assert len(store.keys(partial.FOLDER)) == len(names)
    store.sweep_partial(older_than_seconds=-1)
    assert store.keys(partial.FOLDER) == []


def test_readers_see_whole_files_while_several_writers_replace_one(store):
    store.write_table("t.parquet", rows(1000))
    seen, done = [], threading.Event()

    def write(value):
        for _ in range(25):
            store.write_table("t.parquet", rows(1000, value))

    def read():
        while not done.is_set():
            seen.append(store.read_table("t.parquet")["x"].to_numpy())

    writers = [threading.Thread(target=write, args=(value,)) for value in (1.0, 2.0)]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert len(seen) > 1
    assert all(len(x) == 1000 and len(set(x)) == 1 for x in seen)
    assert store.keys(partial.FOLDER) == []


# -- storage that fails ------------------------------------------------------------------------------------------------


def test_a_full_disk_is_a_storage_error_that_says_what_to_do_and_keeps_what_was_there(store, monkeypatch):
    store.write_bytes("a", b"old")
    full = partial.new_key()
    monkeypatch.setattr(partial, "new_key", lambda: full)
    os.symlink("/dev/full", store.path(full))  # every write to it is a real ENOSPC
    with pytest.raises(StorageError) as caught:
        store.write_bytes("a", b"new" * 100_000)
    said = str(caught.value)
    assert "No space left on device" in said
    assert store.uri in said
    for hint in ("Finished work is kept", "free space", "--storage", "run the same command again"):
        assert hint in said
    assert store.read_bytes("a") == b"old"


@pytest.mark.parametrize("use", [Store.probe, lambda store: store.lock("run/lock").__enter__()])
def test_a_read_only_storage_is_refused_before_any_work(use):
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o555)
    root = os.geteuid() == 0
    try:
        if root:  # root may write anywhere, so be nobody for a moment
            os.seteuid(65534)
        with pytest.raises(StorageError, match=r"cannot be written \(Permission denied\).*choose another --storage"):
            use(Store(str(folder)))
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize("root", ["/dev/null/runs", "/proc/no/such/place"])
def test_a_storage_that_cannot_exist_is_a_storage_error(root):
    with pytest.raises(StorageError, match="failed at"):
        Store(root).probe()


def test_an_address_that_no_filesystem_answers_to_is_refused():
    with pytest.raises(StorageError, match=r"'nosuch://bucket/x' cannot be opened"):
        Store("nosuch://bucket/x")


def test_a_probe_leaves_nothing_behind(store):
    store.probe()
    assert store.keys(partial.FOLDER) == []
