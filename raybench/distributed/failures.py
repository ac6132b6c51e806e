"""Turn what Ray raises into the error of the job, or into one sentence about what died."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray

from raybench.distributed.watch import Watch, died
from raybench.errors import CONTINUE, LostError, UserError

SHUTDOWN_SECONDS = 5.0  # for a Ray that died; its core waits for it longer
LOG_LINES = 60  # of each of Ray's logs, for the details of an error
LOGS = ("gcs_server.*", "raylet.*", "dashboard_agent.log", "dashboard.*")
DEATHS = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.RayActorError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.RpcError,
    ray.exceptions.GetTimeoutError,
    ray.exceptions.RaySystemError,
    ray.exceptions.RuntimeEnvSetupError,
)


class WorkerError(RuntimeError):
    """An unexpected error in a worker, in one sentence; the error that Ray raised is its cause."""


@contextmanager
def original_errors(activity: str) -> Iterator[None]:
    """Re-raise a UserError of a worker without Ray's wrapping, and a lost process as a LostError."""
    try:
        yield
    except Exception as error:
        cause = user_error(error)
        if cause is not None:
            if cause is error:
                raise
            raise cause from None
        if any(isinstance(link, ray.exceptions.OutOfDiskError) for link in chain(error)):
            raise UserError(
                f"{activity} stopped: the disk with Ray's temporary files is full. Free some space, or set TMPDIR to a "
                f"folder on another disk. {CONTINUE}"
            ) from error
        root = next((link for link in chain(error) if not _is_wrapping(link)), None)
        if root is None and any(isinstance(link, DEATHS) for link in chain(error)):
            memory = any(isinstance(link, ray.exceptions.OutOfMemoryError) for link in chain(error))
            reason = "its memory ran out" if memory else "did the memory run out?"
            raise LostError(f"{activity} stopped: its worker process died ({reason}). {CONTINUE}") from error
        if _is_wrapping(error):
            first = f"{type(root or error).__name__}: {root or error}".strip().partition("\n")[0]
            raise WorkerError(f"{activity} failed in a worker: {first}") from error
        raise


def user_error(error: BaseException | None) -> UserError | None:
    """Return the UserError at the root of a chain of Ray's exceptions, or None."""
    # Ray raises an instance of both its own class and the cause's class; only the plain one prints one sentence
    found = (
        link for link in chain(error) if isinstance(link, UserError) and not isinstance(link, ray.exceptions.RayError)
    )
    return next(found, None)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and every error that Ray wrapped in it, each once."""
    visited: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, BaseException) or id(current) in visited:
            continue
        visited.add(id(current))
        yield current
        waiting += [getattr(current, "cause", None), getattr(current, "_base_exc", None), current.__cause__]
        waiting += [*getattr(current, "worker_failures", {}).values(), getattr(current, "controller_failure", None)]


def _is_wrapping(error: BaseException) -> bool:
    """Return whether Ray only reports another error with this one: of a task, an actor, or workers of a training."""
    is_training = hasattr(error, "worker_failures") or hasattr(error, "controller_failure")
    return is_training or isinstance(error, ray.exceptions.RayError)


def lost_ray(watch: Watch | None, error: BaseException | None) -> LostError | None:
    """Return the error to raise instead of `error` if Ray died; None for a Ray that lives, and without an error."""
    if watch is None or error is None:
        return None
    dead = watch.dead if _is_expected(error) else watch.confirm()
    return None if dead is None else LostError(f"{died(dead)}. {CONTINUE}")


def shut_down(*, dead: bool) -> None:
    """Disconnect from Ray and end a local one; a dead one gets some seconds only."""
    if not dead:
        ray.shutdown()
        return
    thread = threading.Thread(target=ray.shutdown, name="shut down Ray", daemon=True)
    thread.start()
    thread.join(SHUTDOWN_SECONDS)


def add_logs(error: BaseException, session: Path) -> None:
    """Attach the ends of Ray's logs to an error that the user did not cause, for its traceback."""
    if _is_expected(error):
        return
    for pattern in LOGS:
        for path in sorted(session.glob(f"session_2*/logs/{pattern}")):
            with suppress(OSError):
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
                if lines:
                    error.add_note("\n".join([f"--- {path.name}, last lines:", *lines]))


def _is_expected(error: BaseException) -> bool:
    """Return whether the user caused an error: with Ctrl-C, or with what a UserError says."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, UserError) and not isinstance(error, LostError))


def not_started(error: Exception, address: str | None) -> LostError:
    """Return the error for a Ray that cannot be started or reached, in one sentence."""
    action = f"connect to Ray at {address}" if address else "start a local Ray"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    hint = "" if address else " Is the machine overloaded, or its memory or the disk of its temporary folder full?"
    return LostError(f"cannot {action}: {lines[0].rstrip('.')}.{hint} {CONTINUE}")
