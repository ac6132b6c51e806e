"""Every end of the command line: one sentence, an exit code, and a log where there is more to say."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from raybench.errors import CONTINUE

START = "import os, signal, sys, time, raybench.cli as cli, raybench.supervisor as supervisor\n"
END = "\ncli.app = app\nsupervisor.main()\n"


def start(body: str, temporary: Path) -> subprocess.Popen[str]:
    """Start the supervised command line with `body` in the place of its commands."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return subprocess.Popen(
        [sys.executable, "-c", f"{START}def app():\n{lines}{END}"],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(body: str, temporary: Path) -> tuple[int, list[str], str]:
    """Return the exit code, the lines that the user sees on stderr, and the content of the log."""
    _, printed = (process := start(body, temporary)).communicate(timeout=30)
    logs = list(temporary.glob("raybench-logs-*/*.log"))
    assert [f"raybench: details: {path}" for path in logs] == [
        line for line in printed.splitlines() if "details:" in line
    ]
    assert not list(temporary.glob("raybench-*.*"))
    return process.returncode, printed.splitlines(), logs[0].read_text() if logs else ""


def test_success_prints_nothing_and_leaves_nothing(tmp_path):
    assert end("os.write(2, b'noise of a library')", tmp_path) == (0, [], "")
    assert not list(tmp_path.iterdir())


def test_a_mistake_of_the_user_is_one_sentence(tmp_path):
    body = "from raybench.errors import UserError\nraise UserError('train.epochs: must be at least 1')"
    assert end(body, tmp_path) == (2, ["raybench: train.epochs: must be at least 1"], "")


def test_a_full_disk_is_one_sentence(tmp_path):
    code, printed, _ = end("raise OSError(28, 'No space left on device')", tmp_path)
    assert code == 2
    assert printed == [
        f"raybench: [Errno 28] No space left on device. Free some space or fix the permissions. {CONTINUE}"
    ]


def test_an_unexpected_error_is_one_sentence_and_its_traceback_is_in_the_log(tmp_path):
    code, printed, log = end("raise KeyError('x')", tmp_path)
    assert code == 1
    assert printed[0].startswith("raybench: unexpected error: KeyError: 'x'.")
    assert len(printed) == 2
    assert "Traceback" in log
    assert (tmp_path / f"raybench-logs-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_a_lost_ray_ends_at_once_with_a_code_of_its_own(tmp_path):
    body = (
        "import atexit; atexit.register(time.sleep, 60)\nfrom raybench.errors import LostError\nraise LostError('gone')"
    )
    code, printed, log = end(body, tmp_path)
    assert (code, printed[0]) == (3, "raybench: gone")
    assert "LostError: gone" in log


@pytest.mark.parametrize(
    ("number", "cause"), [(signal.SIGABRT, "an error in native code"), (signal.SIGKILL, "did the memory run")]
)
def test_a_process_that_dies_is_reported_by_its_parent(tmp_path, number, cause):
    code, printed, log = end(f"os.write(2, b'*** core\\n')\nos.kill(os.getpid(), {int(number)})", tmp_path)
    assert code == 3
    assert printed[0].startswith(f"raybench: the process was ended by {number.name} ({cause}")
    assert printed[0].endswith(CONTINUE)
    assert log.startswith("*** core\n")
    assert ("Fatal Python error: Aborted" in log) == (number == signal.SIGABRT)


def test_a_death_after_the_end_changes_nothing(tmp_path):
    body = "import atexit; atexit.register(os.abort)\nfrom raybench.errors import UserError\nraise UserError('wrong')"
    assert end(body, tmp_path) == (2, ["raybench: wrong"], "")


def test_an_exit_that_python_does_not_see_is_reported(tmp_path):
    code, printed, _ = end("os._exit(1)", tmp_path)  # as Ray's core does
    assert code == 3
    assert printed == [f"raybench: Ray ended the run, as it does when its node process dies (exit code 1). {CONTINUE}"]


def test_a_noted_cause_is_what_the_parent_prints(tmp_path):
    for end_of_child in ("os._exit(1)", "os.abort()"):
        body = f"from raybench import details\ndetails.note('first')\ndetails.note('the GCS died')\n{end_of_child}"
        code, printed, _ = end(body, tmp_path)
        assert code == 3
        assert printed[0] == f"raybench: the GCS died. {CONTINUE}"
        for log in tmp_path.glob("raybench-logs-*/*"):
            log.unlink()


def test_what_threads_of_ray_print_goes_to_the_log(tmp_path):
    body = """
import threading
from raybench import details
details.divert_threads('ray_')
for name in ('ray_errors', 'mine'):
    t = threading.Thread(target=print, args=(name,), kwargs={'file': sys.stderr}, name=name)
    t.start(); t.join()
raise KeyError('x')
"""
    code, printed, log = end(body, tmp_path)
    assert (code, printed[0]) == (1, "mine")
    assert log.startswith("ray_errors\n")


def test_what_threads_raise_goes_to_the_log(tmp_path):
    body = "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()\nraise SystemExit(1)"
    code, printed, log = end(body, tmp_path)
    assert code == 1
    assert len(printed) == 1
    assert "ZeroDivisionError" in log


WAIT = """
try:
    print('ready', flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    print('interrupted', flush=True)
    time.sleep(0.3)
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_command_interrupts_the_run_once(tmp_path, number, code):
    process = start(WAIT, tmp_path)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    psutil.Process(process.pid).children()[0].send_signal(number)  # as a terminal does, and the command `timeout`
    printed, errors = process.communicate(timeout=10)
    assert (process.returncode, printed, errors) == (code, "interrupted\n", "")


def test_the_run_ends_with_the_command(tmp_path):
    process = start(WAIT, tmp_path)
    assert process.stdout.readline() == "ready\n"
    child = psutil.Process(process.pid).children()[0]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_old_logs_are_removed(tmp_path):
    folder = tmp_path / f"raybench-logs-{os.getuid()}"
    folder.mkdir()
    for number in range(25):
        (folder / f"20200101-{number:06}-1.log").touch()
    start("raise KeyError('x')", tmp_path).communicate(timeout=30)
    assert len(list(folder.iterdir())) == 20


def test_sigterm_interrupts_a_run_that_a_script_started_in_the_background(tmp_path):
    lines = "".join(f"    {line}\n" for line in WAIT.splitlines())
    code = f"{START}signal.signal(signal.SIGINT, signal.SIG_IGN)\ndef app():\n{lines}{END}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.communicate(timeout=10) == ("interrupted\n", "")
    assert process.returncode == 143
