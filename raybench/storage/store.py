"""Artifacts by key, written atomically, on a local disk or any filesystem that pyarrow opens by URI.

A write goes to a partial file which is then renamed, so a file that exists is complete, and killing a process at any
moment loses at most the artifact it was writing. Keys are relative paths; those under `artifacts/` contain a
fingerprint of everything that decides the content, so artifacts are shared by every run on the same storage and never
change.
"""

import hashlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from raybench.errors import UserError

PARTIAL = ".partial"
STALE_SECONDS = 120.0  # a lock on a remote filesystem that was not refreshed for this long is dead


class StorageError(UserError):
    """Raised when the storage cannot be read or written (full, read-only, unreachable)."""


def fingerprint(*parts: Any) -> str:
    """Return 16 hex characters that identify JSON-serializable values, independent of the order of keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"cannot fingerprint a {type(value).__name__}")


class Store:
    """One storage root, rebuilt from its `uri` in any worker."""

    def __init__(self, uri: str) -> None:
        """Open the root, a local path or a URI such as `s3://bucket/raybench`; a local folder is created if missing."""
        try:
            if "://" in uri:
                self.filesystem, self.root = fs.FileSystem.from_uri(uri)
                self.uri = uri
            else:
                self.filesystem, self.root = fs.LocalFileSystem(), str(Path(uri).expanduser().resolve())
                self.uri = self.root
        except (pa.ArrowException, OSError) as error:
            raise StorageError(f"storage {uri!r} cannot be opened: {error}") from error

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.uri,)

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, key: str) -> str:
        """Return the path of a key on the store's filesystem."""
        return f"{self.root}/{key}"

    @contextmanager
    def _errors(self, key: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, FileNotFoundError) and not writing:
                raise
            raise StorageError(
                f"storage {self.uri!r} failed at {key}: {error}. Finished work is kept; free space, fix "
                "permissions or choose another --storage, and run the same command again"
            ) from error

    def probe(self) -> None:
        """Write and remove a small file, so that a full or read-only storage is refused before any work."""
        key = f"{PARTIAL}/probe-{uuid.uuid4().hex}"
        self.write_bytes(key, b"raybench" * 512)
        self.delete(key)

    def exists(self, key: str) -> bool:
        with self._errors(key):
            return bool(self.filesystem.get_file_info(self.path(key)).type != fs.FileType.NotFound)

    def runs(self) -> list[str]:
        """Return the names of the runs that have tables, sorted."""
        with self._errors(""):
            infos = self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        names = sorted(info.base_name for info in infos if info.type == fs.FileType.Directory)
        return [name for name in names if self.exists(f"{name}/tables/metrics.parquet")]

    def keys(self, prefix: str, *, suffix: str = "") -> list[str]:
        """Return the keys of the files directly under a folder, sorted."""
        with self._errors(prefix):
            infos = self.filesystem.get_file_info(fs.FileSelector(self.path(prefix), allow_not_found=True))
        names = (info.base_name for info in infos if info.type == fs.FileType.File)
        return [f"{prefix}/{name}" for name in sorted(names) if name.endswith(suffix)]

    def read_bytes(self, key: str) -> bytes:
        with self._errors(key), self.filesystem.open_input_file(self.path(key)) as stream:
            return bytes(stream.read())

    def write_bytes(self, key: str, data: bytes) -> None:
        with self._replacing(key) as stream:
            stream.write(data)

    def read_json(self, key: str) -> Any:
        return json.loads(self.read_bytes(key))

    def write_json(self, key: str, value: Any) -> None:
        self.write_bytes(key, json.dumps(value, indent=1, sort_keys=True).encode())

    def read_table(self, key: str, *, columns: list[str] | None = None) -> pa.Table:
        with self._errors(key):
            return pq.read_table(self.path(key), filesystem=self.filesystem, columns=columns)

    def write_table(self, key: str, table: pa.Table) -> None:
        with self._replacing(key) as stream:
            pq.write_table(table, stream, compression="zstd")

    @contextmanager
    def _replacing(self, key: str) -> Iterator[pa.NativeFile]:
        """Open a partial file that replaces the key's file if the block ends without an error."""
        partial = f"{PARTIAL}/{uuid.uuid4().hex}"
        with self._errors(key, writing=True):
            self.filesystem.create_dir(self.path(PARTIAL), recursive=True)
            self.filesystem.create_dir(os.path.dirname(self.path(key)), recursive=True)
            try:
                with self.filesystem.open_output_stream(self.path(partial)) as stream:
                    yield stream
                self.filesystem.move(self.path(partial), self.path(key))
            except BaseException:
                self.delete(partial)  # frees space on a full disk
                raise

    def delete(self, key: str) -> None:
        """Remove a file if it exists."""
        with self._errors(key):
            try:
                self.filesystem.delete_file(self.path(key))
            except FileNotFoundError:
                return

    def share(self, source: str, target: str) -> None:
        """Make the file at `source` available at `target` too: a hard link on a local disk, a copy elsewhere."""
        if self.is_local:
            with self._errors(target):
                os.makedirs(os.path.dirname(self.path(target)), exist_ok=True)
                link = self.path(f"{PARTIAL}/{uuid.uuid4().hex}")
                try:
                    os.link(self.path(source), link)
                    os.replace(link, self.path(target))
                    return
                except OSError:  # a filesystem without hard links: copy below
                    Path(link).unlink(missing_ok=True)
        self.write_bytes(target, self.read_bytes(source))

    def sweep_partial(self, *, older_than_seconds: float = 86400.0) -> None:
        """Remove partial files that killed writers left a day or more ago."""
        selector = fs.FileSelector(self.path(PARTIAL), allow_not_found=True)
        for info in self.filesystem.get_file_info(selector):
            if info.mtime is not None and time.time() - info.mtime.timestamp() > older_than_seconds:
                self.delete(f"{PARTIAL}/{info.base_name}")

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Lock a run for one driver; raise UserError that names the owner if another driver has the lock.

        A local lock ends with its process, however it dies. A remote lock is refreshed by a thread and expires when it
        has not been refreshed for two minutes.
        """
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        acquire = self._local_lock if self.is_local else self._remote_lock
        with acquire(key, owner):
            yield

    @contextmanager
    def _local_lock(self, key: str, owner: dict[str, Any]) -> Iterator[None]:
        import fcntl

        with self._errors(key, writing=True):
            os.makedirs(os.path.dirname(self.path(key)), exist_ok=True)
            descriptor = os.open(self.path(key), os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _locked(key, os.read(descriptor, 4096)) from error
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(owner).encode())
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _remote_lock(self, key: str, owner: dict[str, Any]) -> Iterator[None]:
        if self.exists(key):
            content = self.read_bytes(key)
            if time.time() - float(json.loads(content).get("refreshed", 0)) < STALE_SECONDS:
                raise _locked(key, content)
        done = threading.Event()

        def refresh() -> None:
            while not done.wait(STALE_SECONDS / 4):
                # a failed refresh only makes the lock look older; the next one may work
                with suppress(StorageError):
                    self.write_json(key, {**owner, "refreshed": time.time()})

        self.write_json(key, {**owner, "refreshed": time.time()})
        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.delete(key)


def _locked(key: str, content: bytes) -> UserError:
    try:
        owner = json.loads(content)
        who = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (ValueError, KeyError):
        who = "another process"
    return UserError(
        f"this run is in progress: {who} holds the lock {key}. Wait for it, or choose another name (--set name=...) or "
        "another --storage; runs of different names can share a storage"
    )
