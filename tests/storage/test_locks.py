"""Locks: one driver at a time on local disks and on object storage, whatever the clocks of the drivers say."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pyarrow import fs

from raybench.errors import UserError
from raybench.storage import locks
from raybench.storage.store import Store

OWNER = {"host": "elsewhere", "pid": 7, "since": "2026-01-01 00:00:00", "held": True}


@pytest.fixture
def local(tmp_path):
    return Store(str(tmp_path / "runs"))


def claims(store):
    return store.keys("run/lock")


def claim(store, name="other", **content):
    """Write another driver's claim, whose time is that of the storage, now."""
    store.filesystem.create_dir(store.path("run/lock"), recursive=True)
    with store.filesystem.open_output_stream(store.path(f"run/lock/{name}.json")) as stream:
        stream.write(json.dumps({**OWNER, **content}).encode())


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def child(code, *arguments):
    prelude = "import sys, time\nfrom raybench.storage.store import Store\nstore = Store(sys.argv[1])\n"
    return subprocess.Popen([sys.executable, "-c", prelude + code, *arguments], stdout=subprocess.PIPE, text=True)


# -- local -------------------------------------------------------------------------------------------------------------


def test_a_lock_names_the_living_process_that_holds_it_and_ends_with_it(local):
    code = "with store.lock('run/lock'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    with child(code, local.uri) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError) as caught, local.lock("run/lock"):
            pass
        assert f"process {holder.pid} on " in str(caught.value)
        assert "--set name=" in str(caught.value)
        with local.lock("another/lock"):
            pass  # another run may use the same storage
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with local.lock("run/lock"):
        pass


def test_a_lock_with_damaged_content_is_still_a_lock(local):
    with local.lock("run/lock"):
        Path(local.path("run/lock")).write_text("{")
        with pytest.raises(UserError, match="another process holds the lock run/lock"), local.lock("run/lock"):
            pass


# -- object storage ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "s3"])
def remote(request, make_remote):
    return make_remote(request.param)


def test_a_lock_is_free_again_after_use_and_after_an_error(local, remote):
    for store in (local, remote):
        with pytest.raises(ZeroDivisionError), store.lock("run/lock"):
            raise ZeroDivisionError
        with store.lock("run/lock"):
            pass
    assert claims(remote) == []


def test_a_held_lock_is_refused_at_once_and_left_alone(remote):
    with remote.lock("run/lock"):
        mine = claims(remote)
        assert len(mine) == 1
        with pytest.raises(UserError, match=f"process {os.getpid()} on .* expires 120 seconds"):
            Store(remote.uri).lock("run/lock").__enter__()
        assert claims(remote) == mine
        with Store(remote.uri).lock("another/lock"):
            pass
    assert claims(remote) == []


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_the_clock_of_a_driver_does_not_matter(remote, monkeypatch, hours):
    """The clock of the machine stands wrong; the storage's times are all that counts."""
    claim(remote)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * hours)
    with pytest.raises(UserError, match="process 7 on elsewhere since 2026-01-01"), remote.lock("run/lock"):
        pass
    assert claims(remote) == ["run/lock/other.json"]


def test_the_lock_of_a_dead_driver_expires(remote, monkeypatch):
    monkeypatch.setattr(locks, "STALE_SECONDS", 1.0)
    claim(remote)
    time.sleep(2.5)  # S3 has times of whole seconds
    with remote.lock("run/lock"):
        assert claims(remote) != ["run/lock/other.json"]
        assert len(claims(remote)) == 1


def test_a_damaged_claim_is_still_a_claim(remote):
    claim(remote)
    with remote.filesystem.open_output_stream(remote.path("run/lock/other.json")) as stream:
        stream.write(b'{"held": true')
    with pytest.raises(UserError, match="another process holds the lock"), remote.lock("run/lock"):
        pass


def test_a_held_lock_is_renewed(remote, monkeypatch):
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.4)
    writes = []
    write = locks._Claim.write
    monkeypatch.setattr(locks._Claim, "write", lambda self, *, held: (writes.append(held), write(self, held=held)))
    with remote.lock("run/lock"):
        wait_for(lambda: len(writes) >= 4)
        assert len(claims(remote)) == 1
    assert writes[:3] == [False, True, True]


def test_a_driver_that_was_suspended_does_not_delete_or_keep_the_lock_of_its_successor(remote, monkeypatch):
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.8)

    def work_on():
        with remote.lock("run/lock"):
            remote.delete(claims(remote)[0])
            claim(remote, "successor")
            time.sleep(20)  # interrupted

    with pytest.raises(UserError, match="another process took over the lock run/lock"):
        work_on()
    assert claims(remote) == ["run/lock/successor.json"]


def test_ctrl_c_is_not_mistaken_for_a_lost_lock(remote):
    with pytest.raises(KeyboardInterrupt), remote.lock("run/lock"):
        raise KeyboardInterrupt
    assert claims(remote) == []


def test_of_drivers_that_start_at_the_same_moment_at_most_one_gets_in(remote, monkeypatch):
    monkeypatch.setattr(locks, "PAUSE_SECONDS", 0.05)
    inside, most, refused, barrier, guard = [], [], [], threading.Barrier(4), threading.Lock()

    def drive(number):
        store = Store(remote.uri)
        barrier.wait()
        try:
            with store.lock("run/lock"):
                with guard:
                    inside.append(number)
                    most.append(len(inside))
                time.sleep(0.3)
                with guard:
                    inside.remove(number)
        except UserError:
            refused.append(number)

    for _ in range(3):
        threads = [threading.Thread(target=drive, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(most) <= {1}
    assert len(most) + len(refused) == 12
    assert claims(remote) == []


class _Step:
    """Runs two drivers in every order of their requests: each request waits for its turn."""

    def __init__(self, order):
        self.order, self.turn = list(order), threading.Condition()

    def wait(self, name):
        with self.turn:
            self.turn.wait_for(lambda: not self.order or self.order[0] == name, timeout=10)
            if self.order:
                self.order.pop(0)
            self.turn.notify_all()


@pytest.mark.parametrize("order", ["AABB", "ABAB", "ABBA", "BAAB", "BABA", "BBAA"])
def test_in_every_order_of_two_writes_and_two_listings_at_most_one_driver_wins(make_remote, monkeypatch, order):
    store, won = make_remote("memory"), []
    steps = _Step(order)
    monkeypatch.setattr(locks, "ATTEMPTS", 1)
    write, others = locks._Claim.write, locks._Claim.living_others

    def stepped_write(self, *, held):
        if not held:
            steps.wait(threading.current_thread().name)
        write(self, held=held)

    def stepped_others(self):
        steps.wait(threading.current_thread().name)
        return others(self)

    monkeypatch.setattr(locks._Claim, "write", stepped_write)
    monkeypatch.setattr(locks._Claim, "living_others", stepped_others)
    release = threading.Event()

    def drive():
        try:
            with Store(store.uri).lock("run/lock"):
                won.append(threading.current_thread().name)
                release.wait(10)
        except UserError:
            pass

    threads = [threading.Thread(target=drive, name=name) for name in "AB"]
    for thread in threads:
        thread.start()
    wait_for(lambda: not steps.order)
    time.sleep(0.1)
    release.set()
    for thread in threads:
        thread.join()
    assert len(won) <= 1  # both may withdraw, and try again
    if order in ("AABB", "BBAA"):
        assert won == [order[0]]
    assert claims(store) == []


def test_the_store_works_on_a_real_object_store(make_remote):
    store = make_remote("s3")
    assert isinstance(store.filesystem, fs.S3FileSystem)
    store.probe()
    store.write_json("artifacts/trials/a.json", {"x": 1})
    assert Store(store.uri).read_json("artifacts/trials/a.json") == {"x": 1}
    store.remove_scratch("run")
    assert store.keys("artifacts/trials") == ["artifacts/trials/a.json"]
