"""End-to-end tests: the command line on a real local Ray, with real files and real kills.

Most tests call the command line in this process, where all of them share one Ray and its warm workers. Only a test that
kills or interrupts the driver starts a process, which brings a Ray of its own.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from raybench.cli import main
from raybench.distributed import evaluate, sweep
from raybench.distributed.cluster import Cluster
from raybench.engine.audit import Audit
from raybench.jobs.specs import TrialJob
from raybench.registry import MODULES
from raybench.scenario.scenario import Scenario

ROOT = Path(__file__).parents[2]
SMALL = {
    "extends": str(ROOT / "experiments" / "quickstart.yaml"),
    "name": "small",
    "model": {"name": "user_code.network"},
    "train": {"epochs": 3, "retrained_seeds": 2},
    "methods": {
        "gradient_ascent": None,
        "neggrad_plus": None,
        "random_label": None,
        "salun": None,
        "scrub": None,
        "user_code.shrink": {"by": {"uniform": [0.01, 0.2]}},
        "user_code.broken": {},
    },
    "sweep": {"trials": 3, "originals": 2, "seeds": 2},
    "evaluate": {"metrics": ["accuracy", "mia", "cr", "knn", "cka_to_retrained"], "alphas": [0.2]},
}
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


@dataclass(frozen=True)
class Completed:
    """How a call of the command line ended."""

    code: int
    stdout: str
    stderr: str


Command = Callable[..., Completed]
Process = subprocess.Popen[str]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a user's folder: a small experiment that extends the quickstart, a module of methods and a model."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    shutil.copy(Path(__file__).parent / "user_code.py", folder)
    (folder / "interrupts").mkdir()
    (folder / "yaml.py").write_text("raise SystemExit('a file of the current folder ran')")  # must not matter
    return folder


@pytest.fixture(scope="package")
def local_ray(project: Path) -> Iterator[None]:
    """Start the Ray that all calls in this process share; its workers can import the modules of the project and those
    of benchmarks/.
    """
    with pytest.MonkeyPatch.context() as patch, Cluster() as cluster:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", str(ROOT / "benchmarks"), prepend=os.pathsep)
        patch.setenv(MODULES, str(project))
        with chdir(project):
            cluster.start()
        yield


@pytest.fixture
def in_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweep and predict in tasks, which reuse warm workers, for tests of other things than Tune and actor pools."""
    stream = evaluate._stream

    def run_trials(
        scenario: Scenario, jobs: Sequence[TrialJob], retrained: Audit, on_record: sweep.OnRecord, **_: float
    ) -> None:
        sweep.run_final(scenario, jobs, retrained, on_record)

    monkeypatch.setattr(sweep, "run_trials", run_trials)
    monkeypatch.setattr(evaluate, "_stream", lambda *args, **options: stream(*args, **options | {"pool": False}))


@pytest.fixture(scope="package")
def raybench(project: Path, local_ray: None) -> Command:
    """Call the command line in the user's folder, in this process."""

    def run(*words: str) -> Completed:
        stdout, stderr = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, chdir(project), redirect_stdout(stdout), redirect_stderr(stderr):
            patch.setattr(sys, "argv", ["raybench", *words])
            try:
                main()
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
        return Completed(code, stdout.getvalue(), stderr.getvalue())

    return run


@pytest.fixture(scope="package")
def succeed(raybench: Command) -> Callable[..., str]:
    """Call the command line, require success and return what it prints."""

    def run(*words: str) -> str:
        done = raybench(*words)
        assert done.code == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="package")
def finished(succeed: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the storage of the small experiment, run once from beginning to end without an interruption."""
    storage = tmp_path_factory.mktemp("finished")
    (storage / "printed.txt").write_text(succeed("run", "small.yaml", "--storage", str(storage)))
    return storage


@pytest.fixture(scope="package")
def start(project: Path) -> Iterator[Callable[..., Process]]:
    """Start the command line in its own process group, which is killed when the tests are over."""
    processes: list[Process] = []

    def popen(*words: str) -> Process:
        process = subprocess.Popen(
            [sys.executable, "-m", "raybench", *words],
            cwd=project,
            env={**os.environ, **QUIET},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield popen
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


@dataclass
class Interrupts:
    """Ask the small experiment's model to interrupt a run once a pattern under `artifacts/` matches `count` files."""

    folder: Path

    def ask(self, action: str, storage: Path, pattern: str, count: int) -> Path:
        """Return the file that appears when a worker has reached the moment: `wait` there, or `die`."""
        path = self.folder / f"{action}-{len(list(self.folder.iterdir()))}.json"
        order = {"action": action, "artifacts": str(storage / "artifacts"), "pattern": pattern, "count": count}
        path.with_suffix(".partial").write_text(json.dumps(order))
        path.with_suffix(".partial").rename(path)
        return path.with_suffix(".reached" if action == "wait" else ".done")

    def clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()


@pytest.fixture(scope="package")
def interrupts(project: Path) -> Interrupts:
    return Interrupts(project / "interrupts")


def run_folder(storage: Path, name: str) -> Path:
    """Return the folder of the newest run of a name."""
    return storage / str(json.loads((storage / name / "newest.json").read_text())["run"])


def wait_for(path: Path, process: Process, *, seconds: float = 120) -> None:
    """Wait until a file appears; fail if the process ends before."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, f"the run ended first:\n{process.stdout.read() if process.stdout else ''}"
        assert time.monotonic() < deadline, "the run did not reach this moment in time"
        time.sleep(0.02)
