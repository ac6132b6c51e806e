"""The victims of benchmarks/soak.py: find them in the process tree of one command, kill one, and count what is left."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

VICTIMS = ("command", "driver", "group", "worker", "raylet", "gcs", "agent", "node")
START_SECONDS = 12.0  # of a node
SETTLE_SECONDS = 10.0  # for processes that are about to end


def kill(victim: str, command: subprocess.Popen[str], second: subprocess.Popen[bytes] | None) -> bool:
    """Kill the victim; return False if the command has ended before, or has no such process any more."""
    if victim == "node":
        assert second is not None
        os.killpg(second.pid, signal.SIGKILL)
        return command.poll() is None
    processes = tree(command)
    if victim in ("command", "group"):
        with suppress(ProcessLookupError):
            (os.killpg if victim == "group" else os.kill)(command.pid, signal.SIGKILL)
            return True
    for process in processes:
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


@contextmanager
def nodes(temporary: Path, wanted: bool) -> Iterator[tuple[list[str], subprocess.Popen[bytes] | None]]:
    """Start a cluster of two nodes if wanted; yield the option that names it and the second node."""
    if not wanted:
        yield [], None
        return
    port = random.randrange(20_000, 30_000)
    health = {"RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "500"}
    environment = os.environ | health | {"TMPDIR": str(temporary), "RAY_worker_niceness": "0"}
    ray = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats", "--num-cpus=2"]
    started = []
    try:
        for words in (
            ["--head", "--include-dashboard=false", f"--port={port}", "--node-ip-address=127.0.0.1"],
            [f"--address=127.0.0.1:{port}"],
        ):
            with (temporary / "ray.log").open("ab") as log:
                started.append(
                    subprocess.Popen(
                        [*ray, *words, f"--temp-dir={temporary}/r"][: None if "--head" in words else -1],
                        env=environment,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
            time.sleep(START_SECONDS)
        yield ["--address", f"127.0.0.1:{port}"], started[1]
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(temporary / "r", ignore_errors=True)
        (temporary / "ray.log").unlink()


def left_processes(temporary: Path) -> int:
    """Kill what still runs of a round after a while; return how many processes that are."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := [*processes_of(temporary)]) and time.monotonic() < deadline:
        time.sleep(0.5)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    return len(left)


def processes_of(temporary: Path) -> Iterator[psutil.Process]:
    """Yield the processes whose temporary folder is that of the round: nobody else has it."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(temporary) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
