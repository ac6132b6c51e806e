"""Submit jobs to a real cluster: a head on loopback, a small quickstart, its exit code and its Parquet."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from heads import free_port, start_head
from ray.job_submission import JobStatus, JobSubmissionClient

from raybench.cli import app
from raybench.distributed import packing
from raybench.distributed.submit import dashboard_url, entrypoint, exit_code, experiment_files, shared_storage, submit
from raybench.errors import UserError
from raybench.storage.runs import find_run
from raybench.storage.store import Store

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "experiments" / "quickstart.yaml"
MINE = """
extends: quickstart.yaml
name: mine
methods:
  finetune: {epochs: 1}
  own.nothing: {}
  retrain: null
  gradient_ascent: null
  neggrad_plus: null
  random_label: null
  salun: null
  scrub: null
"""
OWN = """
from raybench import method


@method(source="none: a user-defined method")
def nothing(task, *, lr: float = 1e-6, epochs: int = 1) -> None:
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs):
        for x, y in task.retain():
            task.step(optimizer, task.loss(task.model(x), y))
"""
SHORT = ("train.epochs=1", "train.retrained_seeds=1", "sweep.trials=1", "sweep.seeds=1", "evaluate.metrics=[accuracy]")


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """Start a head node with a dashboard; yield the address of the dashboard."""
    dashboard = free_port()
    # the job's `python` is the one that runs the tests
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    options = [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={free_port()}"]
    with start_head(dashboard, *options, PATH=path, RAY_AUTH_MODE="disabled"):
        yield f"127.0.0.1:{dashboard}"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")  # Ray's client
def test_the_quickstart_runs_as_a_job_and_leaves_its_tables(
    head: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, storage = tmp_path / "project", tmp_path / "storage"
    (project / "experiments").mkdir(parents=True)
    shutil.copy(QUICKSTART, project / "experiments")
    (project / "experiments" / "mine.yaml").write_text(MINE)
    (project / "own.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # Ray's client would prefer this to --address
    words = ["--storage", str(storage), "--working-dir", str(project), "--address", head]
    words += [word for override in SHORT for word in ("--set", override)]
    with pytest.raises(SystemExit) as ended:
        app(["submit", str(project / "experiments" / "mine.yaml"), *words])
    output = capfd.readouterr().out
    assert ended.value.code == 0, output
    assert "ray job stop --address" in output
    assert "4/4 models" in output  # the job's log came through
    store = Store(str(storage))
    tables = storage / find_run(store, "mine") / "tables"
    metrics = pq.read_table(tables / "metrics.parquet").to_pandas()
    assert set(metrics.loc[metrics.kind == "unlearned", "method"]) == {"finetune", "own.nothing"}
    models = pq.read_table(tables / "models.parquet").to_pandas()
    assert sorted(models.kind) == ["original", "retrained", "unlearned", "unlearned"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")
def test_a_job_that_fails_returns_its_own_exit_code(
    head: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    code = submit(QUICKSTART, head, overrides=[], storage=str(blocked / "runs"), folder=ROOT, wait=True, verbosity=0)
    output = capfd.readouterr().out
    assert code == 2, output
    assert output.count("choose another --storage") == 1  # said once, by the job
    assert output.rstrip().endswith("failed, exit code 2")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")
def test_ctrl_c_stops_watching_and_leaves_the_job(head: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    client = JobSubmissionClient(f"http://{head}")

    def running() -> list[str]:
        return [job.submission_id or "" for job in client.list_jobs() if not job.status.is_terminal()]

    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while not running() and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    code = submit(QUICKSTART, head, overrides=[], storage=str(tmp_path), folder=ROOT, wait=True, verbosity=0)
    (job,) = running()
    output = capfd.readouterr().out
    assert code == 130
    assert "the job is still running" in output
    assert f"ray job stop --address http://{head} {job}" in output
    assert client.stop_job(job)


def arguments(tmp_path: Path, **changed: object) -> dict[str, object]:
    return {"overrides": [], "storage": str(tmp_path), "folder": ROOT, "wait": True, "verbosity": 0, **changed}


def test_an_address_where_nothing_listens_is_refused_within_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match="nothing listens"):
        submit(QUICKSTART, f"http://127.0.0.1:{free_port()}", **arguments(tmp_path))  # type: ignore[arg-type]
    assert time.monotonic() - started < 8


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Answer every request with one status and body."""
    status, body = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.mark.parametrize("server", [(401, b"no token")], indirect=True)
def test_a_cluster_that_requires_a_token_explains_how_to_set_it(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="RAY_AUTH_MODE=token") as caught:
        submit(QUICKSTART, server, **arguments(tmp_path))  # type: ignore[arg-type]
    assert "RAY_AUTH_TOKEN" in str(caught.value)


@pytest.mark.parametrize("server", [(200, b"<html>hello</html>"), (404, b"")], indirect=True)
def test_a_server_that_is_not_a_dashboard_is_rejected(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a Ray dashboard"):
        submit(QUICKSTART, server, **arguments(tmp_path))  # type: ignore[arg-type]


@pytest.mark.parametrize("server", [(200, b'{"ray_version": "2.60.0"}')], indirect=True)
def test_a_package_over_the_limit_is_refused_before_it_is_sent(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LIMIT_BYTES", 1000)
    with pytest.raises(UserError, match="largest: raybench/"):
        submit(QUICKSTART, server, **arguments(tmp_path))  # type: ignore[arg-type]


@pytest.mark.parametrize("storage", [None, "runs", "./runs", "~/runs"])
def test_a_storage_that_would_vanish_with_the_job_is_refused(storage: str | None) -> None:
    with pytest.raises(UserError, match="s3://bucket/raybench"):
        shared_storage(storage)


@pytest.mark.parametrize("storage", ["/mnt/shared/raybench", "s3://bucket/raybench?region=eu-west-1"])
def test_a_storage_that_outlives_the_job_is_returned_unchanged(storage: str) -> None:
    assert shared_storage(storage) == storage


@pytest.mark.parametrize("address", ["auto", "ray://head:10001", "head", "file:///tmp"])
def test_an_address_that_is_not_a_dashboard_is_rejected(address: str) -> None:
    with pytest.raises(UserError, match="http://host:8265"):
        dashboard_url(address)


def test_an_experiment_is_packed_with_everything_it_extends(tmp_path: Path) -> None:
    (tmp_path / "experiments" / "base").mkdir(parents=True)
    (tmp_path / "experiments" / "base" / "all.yaml").write_text("name: all\n")
    (tmp_path / "experiments" / "middle.yaml").write_text("extends: base/all.yaml\nname: middle\n")
    (tmp_path / "experiments" / "mine.yaml").write_text("extends: middle.yaml\nname: mine\n")
    files = experiment_files(tmp_path / "experiments" / "mine.yaml", tmp_path)
    assert files == ["experiments/mine.yaml", "experiments/middle.yaml", "experiments/base/all.yaml"]


def test_an_experiment_that_extends_a_file_outside_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "base.yaml").write_text("name: base\n")
    (tmp_path / "project" / "mine.yaml").write_text("extends: ../base.yaml\n")
    with pytest.raises(UserError, match=r"base\.yaml \(extended by mine\.yaml\) is outside .* --working-dir"):
        experiment_files(tmp_path / "project" / "mine.yaml", tmp_path / "project")


def test_the_shell_of_the_job_passes_the_arguments_unchanged() -> None:
    overrides = ["methods.scrub={lr: {loguniform: [1.0e-5, 1.0e-2]}}", "name=it's; rm -rf $HOME"]
    place = "s3://b/p?region=x&scheme=y"
    command = entrypoint("my experiments/a.yaml", storage=place, overrides=overrides, verbosity=2)
    echo = shlex.join([sys.executable, "-c", "import sys; print(sys.argv[1:])"])
    shell = ["sh", "-c", command.replace("python -m raybench", echo)]
    printed = subprocess.run(shell, capture_output=True, text=True, check=True).stdout
    words = [
        "run",
        "my experiments/a.yaml",
        "--storage",
        place,
        "--set",
        overrides[0],
        "--set",
        overrides[1],
        "-v",
        "-v",
    ]
    assert printed.strip() == str(words)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.FAILED, 3, 3),
        (JobStatus.FAILED, -9, 137),
        (JobStatus.FAILED, None, 1),
        (JobStatus.STOPPED, None, 1),
    ],
)
def test_the_exit_code_is_the_job_s_own(status: JobStatus, code: int | None, expected: int) -> None:
    assert exit_code(SimpleNamespace(status=status, driver_exit_code=code)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("storage", ["s3://key:secret@bucket/x", "s3://bucket/x?secret_key=secret&region=eu"])
def test_a_storage_with_a_password_is_refused_and_the_password_is_not_repeated(storage: str) -> None:
    with pytest.raises(UserError, match="holds a password") as caught:
        shared_storage(storage)
    assert "secret'" not in str(caught.value)
    assert ":secret@" not in str(caught.value)
    assert "=secret" not in str(caught.value)
