"""Run the command line in a child process, so that a death of it ends in one sentence and a documented exit code.

Ray's core aborts the process of a driver that lost its cluster, and the kernel kills a process when memory runs out.
Neither can be caught in the process itself. The child writes technical details to a file, which is kept, and named,
only if the child fails. Nothing heavy is imported before the fork, so it costs milliseconds and a few megabytes.
"""

import faulthandler
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from raybench import details
from raybench.errors import CONTINUE, EXIT_LOST, EXIT_UNEXPECTED

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_SECONDS = 1.0  # Ctrl-C reaches the child twice: from the terminal and from this process
LOGS_KEPT = 20
ORDERLY = b"\0"  # the child's last note: it chose its exit code itself
NATIVE = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}


def main() -> None:
    """Run the command line under supervision. The exit codes are listed in docs/reliability.md."""
    if not hasattr(os, "fork"):
        from raybench.cli import main as run_here

        run_here()
        return
    log, alive, notes = _open_log(), os.pipe(), os.pipe()
    os.set_blocking(notes[0], False)  # another process may have inherited the other end
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(alive[0])
        os.close(notes[1])
        os._exit(_supervise(child, log, notes[0]))
    os.close(alive[1])
    os.close(notes[0])
    _prepare_child(alive[0], log, notes[1])
    _run(notes[1])


def _run(notes: int) -> None:
    """Run the command line, and tell the parent that this process chose its exit code itself."""
    from raybench.cli import main as run

    try:
        run()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        os.write(notes, ORDERLY + str(code).encode())
        if code == EXIT_LOST:  # at the end of the process, Ray would wait for what died
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(EXIT_LOST)
        raise
    os.write(notes, ORDERLY + b"0")


def _supervise(child: int, log: int, notes: int) -> int:
    """Wait for the child, forward signals to it, and return the exit code."""
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # SIGINT ends Ray in good order; a shell script starts its background commands with SIGINT ignored
        as_interrupt = number == signal.SIGTERM and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGINT if as_interrupt else number)

    for number in FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, forward)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    *causes, last = _read(notes).split(b"\n")
    if last.startswith(ORDERLY):  # the child chose its exit code, whatever happened to it at its very end
        code, causes = int(last[1:]) & 255, []
    cause = causes[-1].decode() if causes else ""
    if code < 0 and cause and -code not in FORWARDED:
        _print(f"{cause}. {CONTINUE}")
        code = EXIT_LOST
    elif code < 0:
        number = signal.Signals(-code)
        if number in FORWARDED:
            _print(f"stopped by {number.name}. {CONTINUE}")
            return 128 + number
        reason = "an error in native code, of Ray or torch" if number in NATIVE else "did the memory run out?"
        _print(f"the process was ended by {number.name} ({reason}). {CONTINUE}")
        code = EXIT_LOST
    elif not last.startswith(ORDERLY):
        _print(f"{cause or f'Ray ended the run, as it does when its node process dies (exit code {code})'}. {CONTINUE}")
        code = EXIT_LOST
    if code in (EXIT_LOST, EXIT_UNEXPECTED):
        _keep(log)
    return 128 + signal.SIGTERM if code == 130 and signal.SIGTERM in received else code


def _open_log() -> int:
    try:
        log, path = tempfile.mkstemp(prefix="raybench-")
        os.unlink(path)  # the file lives as long as its descriptors
    except OSError:  # nowhere to write: the run will say so if it matters
        return os.open(os.devnull, os.O_RDWR)
    return log


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 1 << 16)
    except BlockingIOError:
        return b""


def _print(sentence: str) -> None:
    with suppress(OSError):
        os.write(2, f"raybench: {sentence}\n".encode())


def _keep(log: int) -> None:
    """Copy the log to a private folder and print its path; an empty log is dropped."""
    if not os.fstat(log).st_size:
        return
    try:
        folder = Path(tempfile.gettempdir(), f"raybench-logs-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # another user was faster
            folder = Path(tempfile.mkdtemp(prefix="raybench-logs-"))
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        os.lseek(log, 0, os.SEEK_SET)
        with path.open("xb") as target, os.fdopen(log, "rb") as source:
            shutil.copyfileobj(source, target)
        for old in sorted(folder.glob("*.log"))[:-LOGS_KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _print(f"the details cannot be written: {error}")
        return
    _print(f"details: {path}")


def _prepare_child(alive: int, log: int, notes: int) -> None:
    """Send descriptor 2, which native code and Ray write to, to the log; end this process when its parent is killed."""
    sys.stderr = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace", buffering=1)
    os.dup2(log, 2)
    details.capture(notes)
    faulthandler.enable(2)
    threading.Thread(target=_end_with_parent, args=(alive,), name="end with parent", daemon=True).start()
    last = -SAME_SECONDS

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last >= SAME_SECONDS:
            last = time.monotonic()
            raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)  # some send it to the whole group


def _end_with_parent(pipe: int) -> None:
    # a signal that this thread received would not wake the main thread from a system call
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    os.read(pipe, 1)  # nobody writes: it returns when the parent is gone
    os.kill(os.getpid(), signal.SIGKILL)
