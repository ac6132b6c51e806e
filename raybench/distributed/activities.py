"""Carry what workers work on to the driver, through the key-value store of Ray's control service.

A worker writes one small value at most once a second, and the driver reads them. No actor or process of its own is
needed, a message is lost without harm, and nothing waits for one.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict

import ray
from ray.experimental import internal_kv

from raybench import activity
from raybench.activity import State

NAMESPACE = "raybench"
MOST = 16  # processes that the driver reads; a display has no room for more
STALE_SECONDS = 60.0  # without a change: the process was killed, or does something that has no speed


def announce() -> None:
    """Let the loops of this worker send what they work on; a second call has no effect."""
    key = f"{_prefix()}{socket.gethostname()}-{os.getpid()}"

    def send(state: State | None) -> None:
        try:
            if state is None:
                internal_kv._internal_kv_del(key, namespace=NAMESPACE)
            else:
                internal_kv._internal_kv_put(key, json.dumps(asdict(state)), namespace=NAMESPACE)
        except Exception:  # the job goes on; whether Ray is lost is found out elsewhere
            activity.listen(None)

    activity.listen(send)


def reader() -> Callable[[], Sequence[State]]:
    """Return a function that returns what the workers of this driver work on, in a fixed order."""
    changed: dict[bytes, tuple[bytes, float]] = {}

    def read() -> Sequence[State]:
        states = []
        with suppress(Exception):
            if not ray.is_initialized():
                return ()
            now = time.monotonic()
            for key in sorted(internal_kv._internal_kv_list(_prefix(), namespace=NAMESPACE))[:MOST]:
                value = internal_kv._internal_kv_get(key, namespace=NAMESPACE)
                if value and changed.get(key, (b"", 0.0))[0] != value:
                    changed[key] = value, now
                if value and now - changed[key][1] < STALE_SECONDS:
                    states.append(State(**json.loads(value)))
        return states

    return read


def _prefix() -> str:
    return f"{ray.get_runtime_context().get_job_id()}/"
