"""Turn what Ray raises for a failed job into the error that the job itself raised."""

from collections.abc import Iterator
from contextlib import contextmanager

import ray

from raybench.errors import UserError


@contextmanager
def original_errors(activity: str) -> Iterator[None]:
    """Re-raise a UserError of a worker without Ray's wrapping, and a lost worker as a UserError; leave others alone."""
    try:
        yield
    except Exception as error:
        cause = user_error(error)
        if cause is not None and cause is not error:
            raise cause from None
        if isinstance(error, ray.exceptions.WorkerCrashedError | ray.exceptions.OutOfMemoryError):
            raise UserError(
                f"{activity} stopped: its worker process died (out of memory?). Finished work is kept; run the same "
                "command again to continue"
            ) from error
        raise


def user_error(error: BaseException | None) -> UserError | None:
    """Return the UserError at the root of a chain of Ray's exceptions, or None."""
    visited: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in visited:
            continue
        visited.add(id(current))
        # Ray raises an instance of both its own class and the cause's class; only the plain one prints one sentence
        if isinstance(current, UserError) and not isinstance(current, ray.exceptions.RayError):
            return current
        waiting += [getattr(current, "cause", None), getattr(current, "_base_exc", None), current.__cause__]
        waiting += list(getattr(current, "worker_failures", {}).values())
    return None
