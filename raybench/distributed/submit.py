"""Run an experiment as a Ray job: pack the project, upload it, stream the job's log, return its exit code."""

import asyncio
import logging
import os
import shlex
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from raybench.config.reading import read
from raybench.distributed.cluster import check_address
from raybench.distributed.packing import pack, unusual_files
from raybench.distributed.token import refused
from raybench.errors import UserError, mask_password, printable

PATIENCE_SECONDS = 60.0  # how long a cluster may be unreachable before `submit` stops following the job
RETRY_SECONDS = 1.0
VERBOSE_LOGGERS = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")  # Ray sets them to INFO
CONNECTION_ERRORS = (requests.RequestException, aiohttp.ClientError, RuntimeError, OSError)  # RuntimeError: log socket


def submit(
    file: Path,
    address: str,
    *,
    overrides: list[str],
    storage: str | None,
    folder: Path,
    wait: bool,
    verbosity: int,
    commit: str | None = None,
) -> int:
    """Run the experiment on the cluster whose dashboard is at `address`, with `folder` as the job's working directory.

    Returns the job's exit code; with `wait=False`, 0 when the job is accepted. Ctrl-C returns 130 and leaves the job
    running. `commit` is recorded in the run's manifest. Raises UserError for an invalid address, storage or folder
    before anything is uploaded.
    """
    results, folder = shared_storage(storage), folder.resolve()
    files = experiment_files(file, folder)
    url = dashboard_url(address)
    check_dashboard(url)
    for name in VERBOSE_LOGGERS if verbosity < 1 else ():
        logging.getLogger(name).setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="raybench-") as scratch, _ray_address(url):
        package = Path(scratch) / "project.zip"
        count = pack(folder, package, also=files)
        for line in unusual_files(folder):
            print(printable(line), flush=True)
        print(f"packed     {count} files, {package.stat().st_size / 2**20:.1f} MiB, from {folder}", flush=True)
        try:
            client = JobSubmissionClient(url)
            job = client.submit_job(
                entrypoint=entrypoint(files[0], storage=results, overrides=overrides, verbosity=verbosity),
                # COLUMNS: the leaderboard in the job's log is as wide as this terminal
                runtime_env={
                    "working_dir": str(package),
                    "env_vars": {
                        "COLUMNS": str(shutil.get_terminal_size().columns),
                        "RAYBENCH_GIT_COMMIT": commit or "",
                    },
                },
                metadata={"experiment": files[0], "storage": results},
            )
        except AuthenticationError as error:
            raise refused(url) from error
        except (requests.RequestException, RuntimeError, ConnectionError) as error:
            raise UserError(f"the cluster at {url} rejected the job: {error}") from error
    print(f"job        {job}   results in {results}\n{_commands(url, job)}", flush=True)
    return _follow(client, url, job) if wait else 0


def shared_storage(storage: str | None) -> str:
    """Return the storage if it outlives the job: a URI or an absolute path. Raise UserError otherwise."""
    if storage is not None and mask_password(storage) != storage:
        raise UserError(
            f"--storage {mask_password(storage)!r} holds a password, and everyone who reaches the dashboard could read "
            "it. Give the nodes the right to write to the bucket (a role, or their environment), and name it alone"
        )
    if storage is not None and ("://" in storage or storage.startswith("/")):
        return storage
    problem = "--storage is required" if storage is None else f"--storage {storage!r} is a relative path"
    raise UserError(
        f"{problem}: the job runs in a temporary copy of the project. Give a URI such as s3://bucket/raybench, or an "
        "absolute path on a filesystem that all nodes share, such as /mnt/shared/raybench"
    )


def experiment_files(file: Path, folder: Path) -> list[str]:
    """Return the paths, relative to `folder`, of the experiment file and the files it extends, in that order.

    Raises UserError for a file outside `folder`.
    """
    chain = read(file).files  # rejects files that are missing, not YAML, or extend themselves
    for path in chain:
        if not path.is_relative_to(folder):
            origin = "" if path == chain[0] else f" (extended by {chain[0].name})"
            raise UserError(
                f"{path}{origin} is outside the uploaded folder {str(folder)!r}; move it there, or choose a folder "
                "that contains it with --working-dir"
            )
    return [path.relative_to(folder).as_posix() for path in chain]


def entrypoint(file: str, *, storage: str, overrides: Sequence[str], verbosity: int = 0) -> str:
    """Return the job's shell command; the cluster's `python` imports raybench from the package or its environment."""
    words = ["python", "-m", "raybench", "run", file, "--storage", storage]
    words += [word for override in overrides for word in ("--set", override)]
    return shlex.join([*words, *["-v"] * verbosity])


def dashboard_url(address: str) -> str:
    """Return the dashboard's URL for `http://host:8265` or `host:8265`."""
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or address == "auto":
        raise UserError(f"--address {address!r}: expected the URL of a Ray dashboard, http://host:8265 or host:8265")
    default_port = {"http": 80, "https": 443}[parts.scheme]
    has_port = ":" in parts.netloc or "://" not in address
    check_address(url if has_port else f"{parts.scheme}://{parts.netloc}:{default_port}")
    return url


def check_dashboard(url: str) -> None:
    """Raise UserError within seconds if the server is not a Ray dashboard; Ray's own client would hang."""
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=10) as response:
            is_dashboard = b"ray_version" in response.read()
    except urllib.error.HTTPError as error:
        is_dashboard = error.code in (401, 403)  # a dashboard that requires a token; Ray's client sends it later
    except (OSError, HTTPException):
        is_dashboard = False
    if not is_dashboard:
        raise UserError(
            f"--address {url!r}: the server there is not a Ray dashboard. By default, the dashboard is port 8265 of "
            "the head node (6379 and 10001 are ports for `raybench run --address`)"
        )


@contextmanager
def _ray_address(url: str) -> Iterator[None]:
    """Point Ray's client to `url`; otherwise RAY_ADDRESS or RAY_API_SERVER_ADDRESS would override it."""
    name = "RAY_API_SERVER_ADDRESS"
    before = os.environ.get(name)
    os.environ[name] = url
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _commands(url: str, job: str) -> str:
    return f"show log   ray job logs --follow --address {url} {job}\nstop job   ray job stop --address {url} {job}"


def _follow(client: JobSubmissionClient, url: str, job: str) -> int:
    try:
        details = _watch(client, url, job)
    except KeyboardInterrupt:
        print(f"\nraybench: stopped following the log; the job is still running.\n{_commands(url, job)}", flush=True)
        return 130
    code = exit_code(details)
    if details.status != JobStatus.SUCCEEDED:
        # with an exit code, the job's log already shows the error, and Ray's message would repeat it
        reason = f", exit code {code}" if details.driver_exit_code is not None else f": {details.message}"
        print(f"raybench: job {job} {details.status.lower()}{reason}", flush=True)
    return code


def _watch(client: JobSubmissionClient, url: str, job: str) -> JobDetails:
    """Print the job's log until the job ends; after a lost connection, continue where the log stopped."""
    num_printed = 0  # characters
    lost_since: float | None = None

    async def stream() -> None:
        nonlocal num_printed, lost_since
        position = 0  # every stream starts at the beginning of the log
        async for text in client.tail_job_logs(job):
            print(text[max(0, num_printed - position) :], end="", flush=True)
            position += len(text)
            num_printed, lost_since = max(num_printed, position), None

    while True:
        try:
            asyncio.run(stream())
            details = client.get_job_info(job)
            if details.status.is_terminal():
                return details
            lost_since = None
        except CONNECTION_ERRORS as error:
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > PATIENCE_SECONDS:
                raise UserError(
                    f"lost the connection to the cluster at {url} ({error}). The job may still be running:\n"
                    f"{_commands(url, job)}"
                ) from error
        time.sleep(RETRY_SECONDS)


def exit_code(details: JobDetails) -> int:
    """Return the exit code of the job's process; 1 if the job was stopped or its process never started."""
    code = details.driver_exit_code
    if code is None:
        return 0 if details.status == JobStatus.SUCCEEDED else 1
    return code if code >= 0 else 128 - code  # killed by a signal: the convention of shells
