"""Start a local Ray or join a cluster, quietly, and only when there is work for it."""

import logging
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from urllib.parse import urlsplit

from raybench.errors import UserError

# glibc hands every freed activation back to the system and has it cleared page by page at the next step: a quarter of a
# ResNet-18's training step on a CPU. Other allocators ignore the names
MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(64 << 30),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
# a shared machine starves workers at Ray's default niceness of 15; the rest silences what nobody can act on
DEFAULTS = {
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # a worker that has imported torch is worth keeping: the next stage's tasks then start at once
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
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
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it stays after the sweep and swallows the first Ctrl-C of what follows
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # raybench's own artifacts are the state; Tune's is never read
    **MALLOC,
}


class Cluster:
    """A Ray that starts on first use: a run that finds everything in the store needs none."""

    def __init__(self, address: str | None = None, *, quiet: bool = True) -> None:
        """`address`: None for a local Ray (or the surrounding job's cluster), "auto", "host:port" or "ray://host:port"."""
        self._address, self._quiet, self._started = address, quiet, False
        if address is not None:
            check_address(address)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            import ray

            ray.shutdown()

    def start(self) -> None:
        """Connect, once."""
        if self._started:
            return
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        # a method in a file of the user's own folder must be importable in the workers too
        paths = [os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        python_path = os.pathsep.join(dict.fromkeys(paths))
        os.environ["PYTHONPATH"] = python_path
        import ray

        if ray.is_initialized():  # a test or a notebook has its own; leave it running afterwards
            return
        level = logging.ERROR if self._quiet else logging.INFO
        joining = self._address or os.environ.get("RAY_ADDRESS")
        try:
            with warnings.catch_warnings(), _without_stderr(self._quiet):
                warnings.simplefilter("ignore")
                if joining:
                    variables = {name: os.environ[name] for name in ("PYTHONPATH", *MALLOC)}
                    ray.init(
                        address=joining,
                        log_to_driver=not self._quiet,
                        logging_level=level,
                        runtime_env={"env_vars": variables},
                    )
                else:
                    ray.init(
                        address="local",
                        include_dashboard=False,
                        log_to_driver=not self._quiet,
                        logging_level=level,
                        _temp_dir=tempfile.mkdtemp(prefix="rb-", dir=_short_folder()),
                    )
        except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
            raise UserError(f"cannot use Ray at {joining or 'a local address'}: {error}") from error
        self._started = True
        for name in ("ray", "ray.data", "ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(level)


@contextmanager
def _without_stderr(quiet: bool) -> Iterator[None]:
    """Drop what Ray's C++ core writes while it starts: it announces the log level that keeps it quiet afterwards."""
    if not quiet:
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _short_folder() -> str | None:
    """Ray's socket paths must stay below some 107 characters: avoid a deep TMPDIR."""
    return None if len(tempfile.gettempdir()) <= 40 or sys.platform == "win32" else "/tmp"


def check_address(address: str) -> None:
    """Refuse an address where nothing listens, within seconds and in plain words."""
    if address in ("auto", "local"):
        return
    parts = urlsplit(address if "://" in address else f"ray-gcs://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise UserError(
            f"--address {address!r}: it takes host:port, ray://host:port, http://host:8265 (for submit), or auto"
        )
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise UserError(
            f"--address {address!r}: nothing listens there ({error}). Is the cluster up, and reachable from here?"
        ) from error


def total_cpus() -> float:
    """Return the cluster's CPUs."""
    import ray

    return float(ray.cluster_resources().get("CPU", 1))
