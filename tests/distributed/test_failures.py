"""Errors of user code reach the driver as the sentence the worker wrote, without Ray's wrapping."""

import pytest

ray = pytest.importorskip("ray")

from raybench.distributed.failures import (  # noqa: E402
    WorkerError,
    add_logs,
    not_started,
    original_errors,
    user_error,
)
from raybench.errors import CONTINUE, EXIT_LOST, EXIT_USER, LostError, UserError  # noqa: E402
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


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ray.exceptions.WorkerCrashedError(), "did the memory run out?"),
        (ray.exceptions.OutOfMemoryError("300 lines\nof advice"), "its memory ran out"),
        (ray.exceptions.ActorDiedError(), "did the memory run out?"),
        (wrapped(ray.exceptions.ActorDiedError()), "did the memory run out?"),
    ],
)
def test_a_lost_worker_says_what_to_do(error, reason):
    with pytest.raises(LostError) as caught, original_errors("training original"):
        raise error
    assert str(caught.value) == f"training original stopped: its worker process died ({reason}). {CONTINUE}"
    assert caught.value.exit_code == EXIT_LOST


def test_a_full_disk_of_ray_is_named():
    with pytest.raises(UserError, match="the disk with Ray's temporary files is full") as caught, original_errors("x"):
        raise ray.exceptions.OutOfDiskError
    assert caught.value.exit_code == EXIT_USER


def test_an_unexpected_error_of_a_worker_is_one_sentence():
    group = RuntimeError("Training failed due to worker errors:\n200 lines")
    group.worker_failures = {1: ValueError("bad value\nand more")}
    for error, text in ((wrapped(KeyError("x")), "KeyError: 'x'"), (group, "ValueError: bad value")):
        with pytest.raises(WorkerError) as caught, original_errors("evaluation"):
            raise error
        assert str(caught.value) == f"evaluation failed in a worker: {text}"
        assert caught.value.__cause__ is error


def test_a_ray_that_does_not_start_is_one_sentence():
    error = not_started(Exception("The current node timed out during startup.\n40 lines"), None)
    assert str(error).startswith("cannot start a local Ray: The current node timed out during startup. Is the machine")
    assert "40 lines" not in str(error)
    assert "cannot connect to Ray at head:6379: TimeoutError. Fin" in str(not_started(TimeoutError(), "head:6379"))


def test_the_ends_of_rays_logs_are_part_of_the_details(tmp_path):
    logs = tmp_path / "session_2026" / "logs"
    logs.mkdir(parents=True)
    (logs / "gcs_server.out").write_text("\n".join(f"line {number}" for number in range(500)))
    error, mistake = LostError("gone"), UserError("a mistake")
    for each in (error, mistake):
        add_logs(each, tmp_path)
    (note,) = error.__notes__
    assert note.startswith("--- gcs_server.out, last lines:\nline 440\n")
    assert note.endswith("\nline 499")
    assert not hasattr(mistake, "__notes__")


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), original_errors("evaluation"):
        raise ZeroDivisionError
