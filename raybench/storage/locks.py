"""Lock a run for one driver: by the operating system on a local disk, by claims on any other filesystem.

pyarrow's filesystems offer no conditional writes, so a claim needs none: every driver writes a file of its own and then
lists the folder. Object stores list what was written before (S3, Google, Azure, MinIO), so of two drivers at least the
later one sees the other, and whoever sees a living claim withdraws. Two drivers may both withdraw, and try again after
a random pause; they can never both win. Ages are differences of the times that the storage itself gives to the files,
so the clocks of the drivers do not matter. A driver only ever deletes its own claim, or one that has expired.
"""

import json
import os
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyarrow import fs

from raybench.errors import UserError

STALE_SECONDS = 120.0  # a claim that was not renewed for this long has expired
PAUSE_SECONDS = 0.5  # before another attempt if two drivers start at the same moment
ATTEMPTS = 6


def owner() -> dict[str, Any]:
    """Return who holds a lock of this process."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


@contextmanager
def local_lock(path: str, key: str) -> Iterator[None]:
    """Lock a file; the lock ends with the process, however it dies."""
    import fcntl

    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _locked(key, os.read(descriptor, 4096)) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(owner()).encode())
        yield
    finally:
        os.close(descriptor)


@contextmanager
def claim_lock(filesystem: fs.FileSystem, folder: str, key: str) -> Iterator[None]:
    """Claim the folder of a key on a remote filesystem; a thread renews the claim until the end of the block.

    Raises UserError if another driver holds it. If the claim is lost meanwhile (this process was suspended for minutes,
    and another driver took over), the main thread is interrupted and the block ends with a UserError.
    """
    claim = _Claim(filesystem, folder)
    _acquire(claim, key)
    done, lost, main = threading.Event(), threading.Event(), threading.main_thread()

    def renew() -> None:
        while not done.wait(STALE_SECONDS / 4):
            with suppress(OSError):  # the storage did not answer; the next renewal may work
                if not claim.renew():
                    lost.set()
                    signal.pthread_kill(main.ident or 0, signal.SIGINT)  # also wakes it from waiting
                    return

    thread = threading.Thread(target=renew, name="renew lock", daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        if lost.is_set():
            raise UserError(
                f"another process took over the lock {key}, because this one did not renew it for {STALE_SECONDS:g} "
                "seconds (was it suspended?). Finished work is kept"
            ) from None
        raise
    finally:
        done.set()
        thread.join()
        with suppress(OSError):  # it expires by itself
            claim.withdraw()


def _acquire(claim: "_Claim", key: str) -> None:
    for attempt in range(ATTEMPTS):
        claim.write(held=False)
        others = claim.living_others()
        if not others:
            claim.write(held=True)
            claim.delete_expired()
            return
        claim.withdraw()
        contents = [claim.read(other) for other in others]
        held = [content for content in contents if b'"held": true' in content]
        if held or attempt == ATTEMPTS - 1:
            raise _locked(
                key, (held or contents)[0], f" If it has died, its lock expires {STALE_SECONDS:g} seconds later."
            )
        time.sleep(PAUSE_SECONDS * (1 + random.random() * attempt))


@dataclass(frozen=True)
class _File:
    path: str
    modified: datetime


class _Claim:
    """A file of this driver in the folder of a lock."""

    def __init__(self, filesystem: fs.FileSystem, folder: str) -> None:
        self._filesystem, self._folder = filesystem, folder
        self._path = f"{self._folder}/{uuid.uuid4().hex}.json"
        self._owner = owner()
        self._modified: datetime | None = None
        self._expired: list[_File] = []

    def write(self, *, held: bool) -> None:
        """Write the claim: one request, so it is there or not. Remember the time that the storage gives to it."""
        self._filesystem.create_dir(self._folder, recursive=True)
        with self._filesystem.open_output_stream(self._path) as stream:
            stream.write(json.dumps({**self._owner, "held": held}).encode())
        self._modified = self._time(self._filesystem.get_file_info(self._path))

    def living_others(self) -> list[_File]:
        """Return the claims of other drivers that have not expired by the time of this one."""
        infos = self._filesystem.get_file_info(fs.FileSelector(self._folder, allow_not_found=True))
        others = []
        for info in infos:
            if info.type == fs.FileType.File and not info.path.endswith(self._path.rsplit("/", 1)[-1]):
                with suppress(FileNotFoundError):  # withdrawn since
                    others.append(_File(info.path, self._time(info)))
        assert self._modified is not None
        self._expired = [f for f in others if (self._modified - f.modified).total_seconds() > STALE_SECONDS]
        return [file for file in others if file not in self._expired]

    def renew(self) -> bool:
        """Write the claim again; return False if another driver took over."""
        before = self._modified
        if self._filesystem.get_file_info(self._path).type == fs.FileType.NotFound:
            return False
        self.write(held=True)
        assert before is not None
        assert self._modified is not None
        # another driver may have judged the claim expired between the two lines above
        late = (self._modified - before).total_seconds() > STALE_SECONDS
        return not (late and self.living_others())

    def withdraw(self) -> None:
        self._delete(self._path)

    def delete_expired(self) -> None:
        for file in self._expired:
            self._delete(file.path)

    def read(self, file: _File) -> bytes:
        try:
            with self._filesystem.open_input_stream(file.path) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return b""

    def _delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._filesystem.delete_file(path)

    def _time(self, info: fs.FileInfo) -> datetime:
        """Return when a file was written, by the storage's clock."""
        if info.type == fs.FileType.NotFound:
            raise FileNotFoundError(info.path)
        # fsspec tells the time only when asked
        modified: datetime = info.mtime or self._filesystem.handler.fs.modified(info.path)
        return modified


def _locked(key: str, content: bytes, hint: str = "") -> UserError:
    try:
        holder = json.loads(content)
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return UserError(
        f"this run is in progress: {who} holds the lock {key}. Wait for it, or choose another name (--set name=...) or "
        f"another --storage; runs of different names can share a storage.{hint}"
    )
