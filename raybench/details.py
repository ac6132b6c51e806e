"""Where technical details go: tracebacks and Ray's messages. The command line keeps them out of the terminal."""

import os
import sys
import threading
import traceback
from typing import TextIO

from raybench.errors import mask_password

_stream: TextIO | None = None


def capture() -> None:
    """Send everything written to file descriptor 2 to the log, and only what Python writes to `sys.stderr` to the user.

    Descriptor 2 must be the log file already, and `sys.stderr` another descriptor.
    """
    global _stream
    _stream = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    threading.excepthook = lambda args: _write(args.exc_value)
    sys.unraisablehook = lambda args: _write(args.exc_value)


def stream() -> TextIO | None:
    """Return the stream of the log; None if nobody captures details, as in Python programs and tests."""
    return _stream


def record(error: BaseException) -> bool:
    """Write an error with its traceback to the log; return False if there is none."""
    _write(error)
    return _stream is not None


def _write(error: BaseException | None) -> None:
    if _stream is not None and error is not None:
        _stream.write(mask_password("".join(traceback.format_exception(error))))
        _stream.flush()
