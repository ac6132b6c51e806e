"""Start a head node as a user does, with `ray start`, for tests of commands that connect to a cluster."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Head:
    """A head node that runs: its address, and its process, in a group with all others of the node."""

    address: str
    process: subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def start_head(ready: int = 0, *options: str, **variables: str) -> Iterator[Head]:
    """Start a head node on loopback, and wait until something listens at the port `ready`, or at its own.

    It is ended by its process group, since `ray stop` would end every Ray here.
    """
    port = free_port()
    environment = {**os.environ, "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}  # at 15, workers starve
    with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        words = ["--head", "--block", "--num-cpus=1", f"--port={port}", f"--temp-dir={folder}", "--disable-usage-stats"]
        words += ["--node-ip-address=127.0.0.1", "--object-store-memory=200000000"]
        words += [f"--ray-client-server-port={free_port()}"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *words, *options]
        log = Path(folder) / "start.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                command,
                env=environment | variables,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
            )
        try:
            wait_for(ready or port, process, log)
            yield Head(f"127.0.0.1:{port}", process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the head did not start: {log.read_text()}")
