"""Errors of user code reach the driver as the sentence the worker wrote, without Ray's wrapping."""

import pytest

ray = pytest.importorskip("ray")

from raybench.distributed.failures import original_errors, user_error  # noqa: E402
from raybench.errors import UserError  # noqa: E402
from raybench.storage.errors import StorageError  # noqa: E402


def wrapped(error):
    """Return the error as `ray.get` raises it."""
    return ray.exceptions.RayTaskError("train", "a traceback of 120 lines", error).as_instanceof_cause()


@pytest.mark.parametrize("error", [UserError("the model does not fit"), StorageError("disk full")])
def test_the_workers_own_error_is_raised(error):
    with pytest.raises(type(error)) as caught, original_errors("training original"):
        raise wrapped(error)
    assert caught.value is error
    assert "120 lines" not in str(caught.value)


def test_the_failure_of_a_worker_group_is_looked_into():
    error = UserError("late failure")
    group = RuntimeError("WorkerGroupError ...")
    group.worker_failures = {0: ValueError("a consequence"), 1: wrapped(error)}
    assert user_error(group) is error


def test_a_lost_worker_says_what_to_do():
    expected = r"training original stopped: its worker process died .* same command again"
    with pytest.raises(UserError, match=expected), original_errors("training original"):
        raise ray.exceptions.WorkerCrashedError


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), original_errors("evaluation"):
        raise ZeroDivisionError
