"""Run an experiment as a Ray job: pack the project, send it to a cluster, stream the log, return the exit code."""

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
import yaml
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from raybench.config.reading import read
from raybench.distributed.cluster import check_address
from raybench.distributed.packing import pack
from raybench.errors import UserError
from raybench.pipeline.manifest import commit

PATIENCE_SECONDS = 60.0  # how long a cluster may be out of reach before we stop following its job
RETRY_SECONDS = 1.0
CHATTER = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")  # they set their own level to INFO
LOST = (requests.RequestException, aiohttp.ClientError, RuntimeError, OSError)  # RuntimeError: the log's socket broke


def submit(
    file: Path, address: str, *, overrides: list[str], storage: str | None, folder: Path, wait: bool, verbosity: int
) -> int:
    """Run the experiment file on the cluster whose dashboard is at `address`, with `folder` as its working directory.

    Returns the job's own exit code (0 once it is accepted, without `wait`; 130 after Ctrl-C, which leaves it running).
    Raises UserError before anything is sent for an address, a storage or a folder that cannot work.
    """
    place, folder = shared_storage(storage), folder.resolve()
    files = experiment_files(file, folder)
    url = dashboard_url(address)
    check_dashboard(url)
    for name in CHATTER if verbosity < 1 else ():
        logging.getLogger(name).setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="raybench-") as scratch, _address(url):
        package = Path(scratch) / "project.zip"
        count = pack(folder, package, also=files)
        print(f"packed     {count} files, {package.stat().st_size / 2**20:.1f} MiB, from {folder}", flush=True)
        try:
            client = JobSubmissionClient(url)
            job = client.submit_job(
                entrypoint=entrypoint(files[0], storage=place, overrides=overrides, verbosity=verbosity),
                # the table in the job's log is as wide as the terminal that shows it
                runtime_env={
                    "working_dir": str(package),
                    "env_vars": {
                        "COLUMNS": str(shutil.get_terminal_size().columns),
                        "RAYBENCH_GIT_COMMIT": commit(folder) or "",
                    },
                },
                metadata={"experiment": files[0], "storage": place},
            )
        except AuthenticationError as error:
            raise _refused(url) from error
        except (requests.RequestException, RuntimeError, ConnectionError) as error:
            raise UserError(f"the cluster at {url} did not take the job: {error}") from error
    print(f"job        {job}   results in {place}\n{_commands(url, job)}", flush=True)
    return _follow(client, url, job) if wait else 0


def shared_storage(storage: str | None) -> str:
    """Return the storage if it is a place that outlives the job: an absolute path or a URI."""
    if storage is not None and ("://" in storage or storage.startswith("/")):
        return storage
    given = "--storage is needed" if storage is None else f"--storage {storage!r} is relative"
    raise UserError(
        f"{given}: the job runs in a copy of the project that is thrown away. Give a URI such as s3://bucket/raybench, "
        "or an absolute path on a filesystem that all nodes share, such as /mnt/shared/raybench"
    )


def experiment_files(file: Path, folder: Path) -> list[str]:
    """Return the experiment file and those it extends, in that order, relative to the folder that travels.

    Raises UserError for one that lies outside of it.
    """
    read(file)  # refuses files that are missing, not YAML, or extend themselves
    chain = [file.resolve()]
    while base := yaml.safe_load(chain[-1].read_text(encoding="utf-8")).get("extends"):
        chain.append((chain[-1].parent / base).resolve())
    for path in chain:
        if not path.is_relative_to(folder):
            why = "" if path == chain[0] else f" (which {chain[0].name} extends)"
            raise UserError(
                f"{path}{why} lies outside the folder that travels, {str(folder)!r}: move it there, or name a folder "
                "that holds it with --working-dir"
            )
    return [path.relative_to(folder).as_posix() for path in chain]


def entrypoint(file: str, *, storage: str, overrides: Sequence[str], verbosity: int = 0) -> str:
    """Return the job's shell command; `python` is the cluster's and finds raybench in the package, or installed."""
    words = ["python", "-m", "raybench", "run", file, "--storage", storage]
    words += [word for override in overrides for word in ("--set", override)]
    return shlex.join([*words, *["-v"] * verbosity])


def dashboard_url(address: str) -> str:
    """Return the dashboard's URL for `http://host:8265` or `host:8265`."""
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or address == "auto":
        raise UserError(f"--address {address!r}: submit takes the cluster's dashboard, http://host:8265 or host:8265")
    standard = {"http": 80, "https": 443}[parts.scheme]
    has_port = ":" in parts.netloc or "://" not in address
    check_address(url if has_port else f"{parts.scheme}://{parts.netloc}:{standard}")
    return url


def check_dashboard(url: str) -> None:
    """Refuse, within seconds, a server that is not a Ray dashboard: Ray's own client would wait for it without end."""
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=10) as answer:
            found = b"ray_version" in answer.read()
    except urllib.error.HTTPError as error:
        found = error.code in (401, 403)  # a dashboard that wants a token, which Ray's client sends
    except (OSError, HTTPException):
        found = False
    if not found:
        raise UserError(
            f"--address {url!r}: something listens there, but it is no Ray dashboard. That is the head's port 8265 "
            "unless the cluster was started otherwise (6379 and 10001 are for `raybench run --address`)"
        )


@contextmanager
def _address(url: str) -> Iterator[None]:
    """Keep RAY_ADDRESS and RAY_API_SERVER_ADDRESS, which Ray prefers to what it is given, from redirecting the job."""
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
    return f"read it    ray job logs --follow --address {url} {job}\nstop it    ray job stop --address {url} {job}"


def _refused(url: str) -> UserError:
    return UserError(
        f"the cluster at {url} asks for a token and got none that it knows. On the head, `ray get-auth-token` prints "
        "it; here, export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN=<that token> (or write it to ~/.ray/auth_token), and "
        "try again"
    )


def _follow(client: JobSubmissionClient, url: str, job: str) -> int:
    try:
        details = _watch(client, url, job)
    except KeyboardInterrupt:
        print(f"\nraybench: no longer watching; the job goes on.\n{_commands(url, job)}", flush=True)
        return 130
    code = exit_code(details)
    if details.status != JobStatus.SUCCEEDED:
        # where its process ran, its log has said why; Ray's message would say it all again
        reason = f", exit code {code}" if details.driver_exit_code is not None else f": {details.message}"
        print(f"raybench: job {job} {details.status.lower()}{reason}", flush=True)
    return code


def _watch(client: JobSubmissionClient, url: str, job: str) -> JobDetails:
    """Print the job's log until the job ends; a connection that breaks is taken up again where the log was."""
    shown = 0
    broken_since: float | None = None

    async def stream() -> None:
        nonlocal shown, broken_since
        position = 0  # every stream begins at the log's first character
        async for text in client.tail_job_logs(job):
            print(text[max(0, shown - position) :], end="", flush=True)
            position += len(text)
            shown, broken_since = max(shown, position), None

    while True:
        try:
            asyncio.run(stream())
            details = client.get_job_info(job)
            if details.status.is_terminal():
                return details
            broken_since = None
        except LOST as error:
            broken_since = broken_since or time.monotonic()
            if time.monotonic() - broken_since > PATIENCE_SECONDS:
                raise UserError(
                    f"lost the cluster at {url} ({error}). If it is only out of reach, the job goes on:\n"
                    f"{_commands(url, job)}"
                ) from error
        time.sleep(RETRY_SECONDS)


def exit_code(details: JobDetails) -> int:
    """Return the exit code of the job's own process; 1 for a job that was stopped or never came to have one."""
    code = details.driver_exit_code
    if code is None:
        return 0 if details.status == JobStatus.SUCCEEDED else 1
    return code if code >= 0 else 128 - code  # killed by a signal, as a shell would say it
