"""Whole journeys: the command as a person types it, on a real local Ray, with real files and real kills."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMALL = {
    "extends": str(ROOT / "experiments" / "quickstart.yaml"),
    "name": "small",
    "model": {"name": "cnn", "width": 4},
    "train": {"epochs": 3, "retrained_seeds": 2},
    "methods": {
        "gradient_ascent": None,
        "neggrad_plus": None,
        "random_label": None,
        "salun": None,
        "scrub": None,
        "own_methods.shrink": {"by": {"uniform": [0.01, 0.2]}},
        "own_methods.broken": {},
    },
    "sweep": {"trials": 3, "seeds": 2},
    "evaluate": {"metrics": ["accuracy", "mia", "cr", "knn", "cka_to_retrained"], "alphas": [0.2]},
}
OWN_METHODS = '''
from raybench import Rate, method


@method(source="a test")
def shrink(task, *, by: Rate = 0.1) -> None:
    """Scale every weight down: a one-shot edit."""
    for parameter in task.model.parameters():
        parameter.data.mul_(1 - by)


@method(source="a test")
def broken(task) -> None:
    """Fail, as a method under development does."""
    raise ZeroDivisionError("a mistake in the method")
'''
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


@pytest.fixture(scope="session", autouse=True)
def _quiet_ray() -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a small experiment that extends the quickstart, and a module of own methods."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    (folder / "own_methods.py").write_text(OWN_METHODS)
    return folder


@pytest.fixture(scope="session")
def raybench(project: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in the user's folder and wait for it."""

    def run(*words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "raybench", *words]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=timeout, check=False)

    return run


@pytest.fixture
def start(project: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start the command line in a process group of its own, which is gone when the test is over."""
    started: list[subprocess.Popen[str]] = []

    def popen(*words: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "raybench", *words],
            cwd=project,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def finished(
    raybench: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The storage of the small experiment, run once from beginning to end without an interruption."""
    storage = tmp_path_factory.mktemp("finished")
    done = raybench("run", "small.yaml", "--storage", str(storage))
    assert done.returncode == 0, done.stdout + done.stderr
    (storage / "printed.txt").write_text(done.stdout + done.stderr)
    return storage


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Wait for something that a run does; fail where the run ends before it."""

    def wait(condition: Callable[[], bool], process: "subprocess.Popen[str]", *, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert process.poll() is None, f"the run ended first:\n{process.stdout.read() if process.stdout else ''}"
            assert time.monotonic() < deadline, "the run did not get there in time"
            time.sleep(0.02)

    return wait
