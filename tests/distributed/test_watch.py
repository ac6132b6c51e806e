"""A Ray that died is noticed within seconds, without its help."""

import socket
import time

import pytest

pytest.importorskip("ray")

from raybench.distributed import failures, watch
from raybench.distributed.watch import Watch
from raybench.errors import LostError, UserError


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_process_that_is_gone_interrupts_the_run(server):
    watching = Watch({"the raylet": server.getsockname()[:2]}, print)
    time.sleep(1.2)
    assert watching.dead is None
    server.close()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as caught:
        time.sleep(20)
    assert time.monotonic() - started < 5
    error = failures.lost_ray(watching, caught.value)
    assert isinstance(error, LostError)
    assert str(error).startswith("the raylet died during the run. Finished work is kept")
    watching.stop()


def test_errors_of_a_ray_that_lives_are_left_alone(server):
    watching = Watch({"the raylet": server.getsockname()[:2]}, print)
    assert failures.lost_ray(watching, None) is None
    assert failures.lost_ray(watching, UserError("a mistake")) is None
    assert failures.lost_ray(watching, KeyboardInterrupt()) is None
    watching.stop()


def test_an_error_of_ray_may_come_before_the_death_is_certain(server, monkeypatch):
    monkeypatch.setattr(watch.signal, "pthread_kill", lambda *_: None)
    watching = Watch({"the raylet": server.getsockname()[:2]}, print)
    server.close()
    assert isinstance(failures.lost_ray(watching, LostError("a worker died")), LostError)
    assert watching.dead == "the raylet"


def test_another_machine_gets_time_and_the_user_is_told(server, monkeypatch):
    monkeypatch.setattr(watch, "_is_here", lambda host: False)
    monkeypatch.setattr(watch, "NOTICE_SECONDS", 0.6)
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 2.0)
    told = []
    host, port = server.getsockname()[:2]
    server.close()
    Watch({"the GCS": (host, port)}, told.append)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(20)
    assert told == [f"waiting      the GCS at {host}:{port} does not answer; giving up after 2 seconds"]


def test_a_machine_knows_its_own_addresses():
    assert watch._is_here("127.0.0.1")
    assert not watch._is_here("192.0.2.1")
