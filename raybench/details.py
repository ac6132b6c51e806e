"""Where technical details go: tracebacks and Ray's messages. The command line keeps them out of the terminal."""

import os
import sys
import threading
import traceback
from typing import Any, TextIO

from raybench.errors import mask_password

_log: TextIO | None = None
_notes: int | None = None


def capture(notes: int) -> None:
    """Send everything written to file descriptor 2 to the log, and only what Python writes to `sys.stderr` to the user.

    Descriptor 2 must be the log file already, and `sys.stderr` another descriptor. `notes`: a descriptor that the
    parent process reads when this one has ended.
    """
    global _log, _notes
    _log = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    _notes = notes
    threading.excepthook = lambda args: _write(args.exc_value)
    sys.unraisablehook = lambda args: _write(args.exc_value)


def stream() -> TextIO | None:
    """Return the stream of the log; None if nobody captures details, as in Python programs and tests."""
    return _log


def record(error: BaseException) -> bool:
    """Write an error with its traceback to the log; return False if there is none."""
    _write(error)
    return _log is not None


def note(sentence: str) -> None:
    """Tell the parent process what to print if this one is ended from outside."""
    if _notes is not None:
        os.write(_notes, sentence.encode() + b"\n")


def divert_threads(*names: str) -> None:
    """Send what threads print whose names start like this to the log, from now on."""
    if _log is not None and not isinstance(sys.stdout, _Diverted):
        sys.stdout = _Diverted(sys.stdout, names, _log)
        sys.stderr = _Diverted(sys.stderr, names, _log)


class _Diverted:
    """A stream of text that some threads do not reach."""

    def __init__(self, stream: TextIO, names: tuple[str, ...], log: TextIO) -> None:
        self._stream, self._names, self._log = stream, names, log

    def write(self, text: str) -> int:
        is_diverted = threading.current_thread().name.startswith(self._names)
        return (self._log if is_diverted else self._stream).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _write(error: BaseException | None) -> None:
    if _log is not None and error is not None:
        _log.write(mask_password("".join(traceback.format_exception(error))))
        _log.flush()
