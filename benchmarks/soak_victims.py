"""The victims of benchmarks/soak.py: find them in the process tree of one command, kill one, and count what is left."""

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

VICTIMS = ("command", "driver", "group", "worker", "raylet", "gcs", "agent", "node")
START_SECONDS = 120.0  # of the cluster of two nodes, at most
BUSY_SECONDS = 60.0  # until a worker is busy, at most
SETTLE_SECONDS = 10.0  # for processes that are about to end
COUNT_NODES = """
import sys, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(sum(node["Alive"] for node in ray.nodes()))
"""


def kill(victim: str, command: subprocess.Popen[str], second: subprocess.Popen[bytes] | None) -> bool:
    """Kill the victim; return False if the command has ended before, or has no such process any more."""
    if victim == "node":
        assert second is not None
        os.killpg(second.pid, signal.SIGKILL)
        return command.poll() is None
    if victim in ("command", "group"):
        with suppress(ProcessLookupError):
            (os.killpg if victim == "group" else os.kill)(command.pid, signal.SIGKILL)
            return True
    deadline = time.monotonic() + (BUSY_SECONDS if victim == "worker" else 0)
    while not (killed := kill_process(victim, command)) and command.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return killed


def kill_process(victim: str, command: subprocess.Popen[str]) -> bool:
    """Kill the first process of that kind among the command's; return False if there is none at this moment."""
    for process in tree(command):
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            chosen = {
                "driver": process.ppid() == command.pid,
                "worker": is_worker(process),
                "raylet": process.name() == "raylet",
                "gcs": process.name() == "gcs_server",
                "agent": "dashboard/agent.py" in words or "DashboardAgent" in words,
            }[victim]
            if chosen:
                process.kill()
                return True
    return False


def is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        words = process.cmdline()
        title = words[0] if words else ""
        return title.startswith("ray::") and not title.startswith("ray::IDLE") and not title.endswith("Agent")
    return False


def tree(command: subprocess.Popen[str]) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process(command.pid).children(recursive=True)
    return []


@dataclass(frozen=True)
class Nodes:
    """A cluster of two nodes, or none: the options and variables of a command that uses it, and the second node."""

    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    second: subprocess.Popen[bytes] | None = None


@contextmanager
def nodes(temporary: Path, wanted: bool) -> Iterator[Nodes]:
    """Start a cluster of two nodes if wanted, and wait until both can work.

    Nodes and commands share a token made for this cluster. Without one, nodes would take the user's from ~/.ray, and
    refuse every client that names an address: Ray sends the user's token only to a cluster that it finds by itself.
    """
    if not wanted:
        yield Nodes()
        return
    address = f"127.0.0.1:{random.randrange(20_000, 30_000)}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    health = {"RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "500"}
    environment = os.environ | health | token | {"TMPDIR": str(temporary), "RAY_worker_niceness": "0"}
    ray = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats", "--num-cpus=2"]
    head = ["--head", "--include-dashboard=false", f"--port={address.rpartition(':')[2]}"]
    head += ["--node-ip-address=127.0.0.1", f"--temp-dir={temporary}/r"]
    started = []
    try:
        for number, words in enumerate((head, [f"--address={address}"]), start=1):
            with (temporary / "ray.log").open("ab") as log:
                process = subprocess.Popen(
                    [*ray, *words], env=environment, stdout=log, stderr=log, start_new_session=True
                )
            started.append(process)
            wait_for_nodes(number, address, environment, temporary / "ray.log")
        yield Nodes(("--address", address), token, started[1])
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(temporary / "r", ignore_errors=True)
        (temporary / "ray.log").unlink()


def wait_for_nodes(number: int, address: str, environment: Mapping[str, str], log: Path) -> None:
    """Wait until so many nodes are alive, in another process: this one must not hold a connection."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        words = [sys.executable, "-c", COUNT_NODES, address]
        counted = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if counted.stdout.strip() == str(number):
            return
        time.sleep(1)
    raise TimeoutError(f"no {number} nodes after {START_SECONDS:g} s: {counted.stderr[-2000:]}\n{log.read_text()}")


def left_processes(temporary: Path) -> list[str]:
    """Kill what still runs of a round after a while; return the names of these processes."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := [*processes_of(temporary)]) and time.monotonic() < deadline:
        time.sleep(0.5)
    names = []
    for process in left:
        with suppress(psutil.Error):
            names.append(" ".join(process.cmdline()[:3]) or process.name())
            process.kill()
    return names


def processes_of(temporary: Path) -> Iterator[psutil.Process]:
    """Yield the processes whose temporary folder is that of the round: nobody else has it."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(temporary) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
