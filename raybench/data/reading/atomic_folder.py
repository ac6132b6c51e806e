"""Write a folder so that it appears complete or not at all, even if several processes write it at once."""

import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from raybench.errors import UserError
from raybench.storage.durable import sync_file, sync_folder_soon

STALE_SECONDS = 3600  # a partial folder without a write for this long belongs to a process that was killed


def write_folder(folder: Path, write: Callable[[Path], None], *, content: str, is_complete: Callable[[], bool]) -> None:
    """Call `write` with a temporary folder, then rename it to `folder`.

    If the rename fails and `is_complete()`, another process finished first and its folder is kept. `content` says in
    the error what could not be written.
    """
    partial = folder.with_name(f".{folder.name}.partial-{uuid.uuid4().hex}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(folder)
        partial.mkdir()
        write(partial)
        for file in partial.iterdir():
            sync_file(file)
        try:
            os.rename(partial, folder)
            sync_folder_soon(str(folder.parent))
        except OSError:
            if not is_complete():
                raise
    except OSError as error:
        raise UserError(f"cannot write {content} to {str(folder)!r}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_stale(folder: Path) -> None:
    """Delete the partial folders that killed writers of `folder` left behind."""
    for partial in folder.parent.glob(f".{folder.name}.partial-*"):
        try:
            newest = max(path.stat().st_mtime for path in [partial, *partial.iterdir()])
        except FileNotFoundError:
            continue  # its writer has just finished
        if time.time() - newest > STALE_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)
