"""Turn an exception of user-defined code (a model, an augmentation) into one sentence that names the user's line."""

import linecache
import sysconfig
import traceback
from pathlib import Path

from raybench.errors import UserError

_INSTALLED = tuple(
    str(Path(folder).resolve()) for name in ("stdlib", "purelib", "platlib") if (folder := sysconfig.get_path(name))
)
_OURS = str(Path(__file__).resolve().parents[1])


def describe(error: BaseException) -> str:
    """Return the error with the last line of user code that led to it: `TypeError: ... (net.py:14, forward: x = ...)`.

    User code is what lies outside raybench, the standard library and installed packages; without such a line the last
    line of raybench is named.
    """
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not _is_installed(frame.filename)]
    ours = [frame for frame in frames if frame.filename.startswith(_OURS)]
    text = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
    for frame in (*users[-1:], *ours[-1:]):
        line = linecache.getline(frame.filename, frame.lineno or 0).strip()
        return f"{text} ({frame.filename}:{frame.lineno}, {frame.name}: {line})"
    return text


def training_failed(what: str, error: Exception, *, log: str | None = None) -> UserError:
    """Return the error to show when training or trying a model fails; `log` is where the full traceback lies."""
    details = f". Full traceback: {log}" if log else ""
    return UserError(f"{what} failed: {describe(error)}{details}")


def _is_installed(file: str) -> bool:
    path = str(Path(file).resolve())
    return path.startswith((_OURS, *_INSTALLED)) or not Path(file).is_file()
