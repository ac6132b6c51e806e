"""Start a local Ray or connect to a cluster, without log noise, and only when there is work to run."""

import errno
import logging
import os
import signal
import site
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from raybench import details
from raybench.activity import State
from raybench.distributed.resources import Need, require
from raybench.distributed.session_folder import SessionFolder, remove_stale
from raybench.distributed.token import check_token, is_refusal, refused
from raybench.errors import UserError
from raybench.registry import MODULES

if TYPE_CHECKING:
    from raybench.distributed.watch import Watch

# By default glibc returns every freed activation to the system, which zeroes the pages again at each step: a quarter
# of a ResNet-18's training step on a CPU. Other allocators ignore these variables
MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(64 << 30),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
DEFAULTS = {
    "RAY_worker_niceness": "0",  # at Ray's default of 15, workers starve on a shared machine
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_idle_worker_killing_time_threshold_ms": "600000",  # keeps workers that have imported torch for the next stage
    # no warnings or progress output that the user cannot act on
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # the default of 2 s delays every start, report, failure and end of a data-parallel group
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it outlives the sweep and swallows the first Ctrl-C of later stages
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # rarely: raybench resumes from its own artifacts and never reads Tune's state
    **MALLOC,
}


class Cluster:
    """A Ray connection that opens on first use, so that a run with nothing left to compute never starts Ray."""

    def __init__(
        self,
        address: str | None = None,
        *,
        quiet: bool = True,
        needs: Sequence[Need] = (),
        wait_seconds: float = 600.0,
        report: Callable[[str], None] = print,
        dashboard: bool = False,
    ) -> None:
        """Check `address`: auto, host:port, or None for a local Ray (inside a job: its cluster).

        `dashboard` starts the dashboard of a local Ray, on this machine only, and reports its address. `needs` are
        compared with what Ray has, once connected; a cluster has `wait_seconds` to add nodes, and `report` is called
        with what it still lacks.
        """
        self._address, self._quiet, self._started = address, quiet, False
        self._needs, self._wait_seconds, self._report, self._dashboard = needs, wait_seconds, report, dashboard
        self._folder: SessionFolder | None = None
        self._watch: Watch | None = None
        if address is not None:
            check_address(address)

    def __enter__(self) -> "Cluster":
        remove_stale()  # what a killed run left, also if this one has nothing to compute
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lost = None
        if self._watch is not None:
            from raybench.distributed.failures import lost_ray

            lost = lost_ray(self._watch, error)
            self._watch.stop()
        if self._started:
            from raybench.distributed.failures import add_logs, shut_down

            if error is not None and self._folder is not None:
                add_logs(lost or error, self._folder.path)
            shut_down(dead=lost is not None)
        if self._folder is not None:
            self._folder.remove()
        remove_stale()  # what processes of a killed run made again since
        if lost is not None:
            raise lost from (None if isinstance(error, KeyboardInterrupt) else error)

    def activities(self) -> Callable[[], Sequence[State]]:
        """Return a function that returns what the workers work on."""
        from raybench.distributed.activities import reader

        return reader()

    def start(self) -> None:
        """Connect to Ray; later calls do nothing."""
        if self._started:
            return
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        os.environ["PYTHONPATH"] = _python_path()
        os.environ.setdefault(MODULES, os.getcwd())  # the command line has set it already
        import ray

        if ray.is_initialized():  # by a test or a notebook, which also shuts it down
            refuse_client("ray://" if ray.util.client.ray.is_connected() else "")  # type: ignore[no-untyped-call]
            self._watch = self._watch or _watch(self._report)
            require(self._needs, may_grow=False, report=self._report)
            return
        level = logging.ERROR if self._quiet else logging.INFO
        address = self._address or os.environ.get("RAY_ADDRESS")
        if address:
            refuse_client(address)
            check_token(address)
        try:
            with warnings.catch_warnings(), _without_stderr(self._quiet), _same_handler(signal.SIGTERM):
                warnings.simplefilter("ignore")
                if address:
                    names = ("PYTHONPATH", MODULES, *MALLOC)
                    variables = {name: os.environ[name] for name in names if name in os.environ}
                    ray.init(
                        address=address,
                        log_to_driver=not self._quiet,
                        logging_level=level,
                        runtime_env={"env_vars": variables},
                        job_config=_job_config(),
                    )
                else:
                    self._folder = SessionFolder()
                    context = ray.init(
                        address="local",
                        include_dashboard=self._dashboard,
                        dashboard_host="127.0.0.1",
                        job_config=_job_config(),
                        log_to_driver=not self._quiet,
                        logging_level=level,
                        _temp_dir=str(self._folder.path),
                    )
        except Exception as error:  # Ray raises bare ones
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            from raybench.distributed.failures import add_logs, chain, not_started

            if address and is_refusal(address, chain(error)):
                raise refused(address) from error
            failure = not_started(error, address)
            if self._folder is not None:
                add_logs(failure, self._folder.path)
            raise failure from error
        self._started = True
        if self._dashboard and not address:
            self._report(f"dashboard    http://{context.dashboard_url}")
        for name in ("ray", "ray.data", "ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(level)
        if self._quiet:
            details.divert_threads("ray_", "StreamingExecutor")  # which print what a worker or a node died of
        if self._quiet and (stream := details.stream()) is not None:
            for handler in logging.getLogger("ray").handlers:
                if isinstance(handler, logging.StreamHandler):
                    handler.setStream(stream)
        self._watch = _watch(self._report)
        require(self._needs, may_grow=bool(address), report=self._report, wait_seconds=self._wait_seconds)


def _watch(report: Callable[[str], None]) -> "Watch":
    from raybench.distributed.watch import Watch, addresses_of_ray

    return Watch(addresses_of_ray(), report)


def _job_config() -> Any:
    """Return what keeps Ray from putting the driver's current folder first on the workers' path."""
    from ray.job_config import JobConfig

    class WithoutFolder(JobConfig):
        def _runtime_env_has_working_dir(self) -> bool:
            return True  # what Ray asks before it adds the folder; it asks for nothing else

    return WithoutFolder()


def _python_path() -> str:
    """Return PYTHONPATH for the workers: absolute, and with the folder of raybench if it is not installed.

    The current folder is not part of it: `registry.imported` searches it last, for functions that the user names.
    """
    folders = [os.path.abspath(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    own = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(dict.fromkeys([*folders, *([] if own in site.getsitepackages() else [own])]))


@contextmanager
def _without_stderr(quiet: bool) -> Iterator[None]:
    """Discard stderr while Ray starts: its C++ core prints a message before it applies the log level.

    With a log of details, the message goes there.
    """
    if not quiet or details.stream() is not None:
        yield
        return
    sys.stderr.flush()
    original, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(devnull)


@contextmanager
def _same_handler(number: signal.Signals) -> Iterator[None]:
    """Undo what the block does to the handler of a signal: Ray's would end the process without a word."""
    handler = signal.getsignal(number)
    yield
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(number, handler)


def check_address(address: str) -> None:
    """Raise UserError within seconds if the address is malformed or nothing listens there."""
    if address in ("auto", "local"):
        return
    refuse_client(address)
    parts = urlsplit(address if "://" in address else f"ray-gcs://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise UserError(f"--address {address!r}: expected host:port, http://host:8265 (submit only) or auto")
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise UserError(
            f"--address {address!r}: nothing listens there ({error}). Check that the cluster is up and reachable"
        ) from error


def refuse_client(address: str) -> None:
    """Raise UserError for an address of Ray Client, whose driver cannot run Ray Data."""
    if address.startswith("ray://"):
        raise UserError(
            f"Ray Client is not supported ({address}): Ray Data cannot evaluate models through it. Give the address "
            "host:6379 on a machine that reaches all nodes, or submit the run as a job: raybench submit FILE --address "
            "http://host:8265"
        )


def total_cpus() -> float:
    """Return the number of CPUs in the cluster."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return float(resources.get("CPU", 1))
