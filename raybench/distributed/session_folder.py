"""The temporary folder of a local Ray: private, removed at the end of the run, or by the next run if that was killed.

Ray makes its own folders writable for everybody, so they lie inside a folder that only its owner can enter.
"""

import fcntl
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "rb-"
LOCK = "lock"
INNER = "r"  # one letter: the paths of sockets are limited
LONGEST_PARENT = 28  # 107 characters of a socket's path, minus 14 of /rb-XXXXXXXX/r and 65 below it
UNLOCKED_SECONDS = 86400.0  # a folder without a lock is not known to be dead before


class SessionFolder:
    """A folder that belongs to this process as long as it lives: it holds a lock that ends with the process."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_parent()))  # with mode 0700
        self._lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = self._folder / INNER
        self.path.mkdir()

    def remove(self) -> None:
        """Remove the folder; what processes that are about to end still write is left to the next run."""
        _remove(self._folder)
        os.close(self._lock)


def remove_stale() -> None:
    """Remove the folders that killed runs of this user left behind."""
    for folder in _parent().glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            try:
                lock = os.open(folder / LOCK, os.O_RDWR)
            except FileNotFoundError:
                # a worker that was starting when its run was killed makes Ray's folder again; a run has the lock first
                again = [path.name for path in folder.iterdir()] == [INNER]
                if again or time.time() - folder.stat().st_mtime > UNLOCKED_SECONDS:
                    _remove(folder)
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
                _remove(folder)
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder / INNER, ignore_errors=True)
    if not (folder / INNER).exists():  # else the lock stays, which tells the next run that nobody uses the folder
        shutil.rmtree(folder, ignore_errors=True)


def _parent() -> Path:
    """Return the temporary folder, or /tmp instead of one with a long path."""
    folder = tempfile.gettempdir()
    return Path(folder if len(folder) <= LONGEST_PARENT or sys.platform == "win32" else "/tmp")
