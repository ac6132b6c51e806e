"""Rename a file so that a loss of power leaves the old file or the whole new one.

The file is synced to the disk before the rename, and its folder after it. A folder is synced by a thread, since nothing
depends on it: if the rename itself is lost, the file is missing and made again.
"""

import atexit
import os
import sys
import threading
from contextlib import suppress

_waiting: set[str] = set()
_changed = threading.Condition()
_syncing = False


def replace(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Sync a file, rename it to `target`, and sync the folder soon after."""
    sync_file(source)
    os.replace(source, target)
    sync_folder_soon(os.path.dirname(os.fspath(target)))


def sync_file(path: str | os.PathLike[str]) -> None:
    """Write a file's content to the disk; a filesystem that cannot do so is left alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # the content and the size are what counts; metadata such as times may be lost
        (os.fsync if sys.platform == "darwin" else os.fdatasync)(descriptor)
    finally:
        os.close(descriptor)


def sync_folder_soon(folder: str) -> None:
    """Sync a folder in the background; a folder that is waiting already is synced once."""
    global _syncing
    with _changed:
        _waiting.add(folder or ".")
        if not _syncing:
            _syncing = True
            threading.Thread(target=_sync_folders, name="sync folders", daemon=True).start()


def wait_for_folders(timeout: float | None = None) -> None:
    """Wait until the folders of all finished renames are synced."""
    with _changed:
        _changed.wait_for(lambda: not _syncing, timeout)


def _sync_folders() -> None:
    global _syncing
    while True:
        with _changed:
            if not _waiting:
                _syncing = False
                _changed.notify_all()
                return
            folder = _waiting.pop()
        with suppress(OSError):  # removed since, or a filesystem that does not sync folders
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


atexit.register(wait_for_folders, 10.0)
