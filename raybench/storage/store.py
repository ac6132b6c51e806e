"""Artifacts by key, written atomically, on a local disk or any filesystem that pyarrow opens by URI.

A write goes to a partial file, which is synced to the disk and then renamed, so a file that exists is complete, and
killing a process or the power at any moment loses at most the artifact it was writing. JSON, tables and models contain
a checksum (`seals`) that every read verifies: a damaged artifact is moved to `damaged/`, and the next run makes it
again. Keys are relative paths; those under `artifacts/` contain a
fingerprint of everything that decides the content, so artifacts are shared by every run on the same storage and never
change.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from raybench.errors import mask_password
from raybench.storage import partial, seals
from raybench.storage.damage import DAMAGED, move_aside
from raybench.storage.durable import replace, sync_folder_soon
from raybench.storage.errors import DamagedError, StorageError, failed
from raybench.storage.locks import claim_lock, local_lock

END_BYTES = 1 << 16  # of a table: the part of its footer with the checksum

T = TypeVar("T")


def _archive(data: pa.Buffer) -> bytes:
    content = bytes(data)
    seals.verify_archive(content)
    return content


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
            # the cause is left out: it may contain the URI with its password
            raise StorageError(mask_password(f"storage {uri!r} cannot be opened: {error}")) from None
        self._folders: set[str] = set()

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.uri,)

    @property
    def shown(self) -> str:
        """Return the URI for messages, without the password in it."""
        return mask_password(self.uri)

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
            raise failed(self.shown, key, error, writing=writing) from error

    def probe(self) -> None:
        """Write and remove a small file, so that a full or read-only storage is refused before any work."""
        key = partial.new_key()
        self.write_bytes(key, b"raybench" * 512)
        self.delete(key)

    def exists(self, key: str) -> bool:
        with self._errors(key):
            return bool(self.filesystem.get_file_info(self.path(key)).type != fs.FileType.NotFound)

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly under a folder, sorted."""
        with self._errors(prefix):
            selector = fs.FileSelector(self.path(prefix).rstrip("/"), allow_not_found=True)
            infos = self.filesystem.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.type == fs.FileType.Directory)

    def keys(self, prefix: str, *, suffix: str = "") -> list[str]:
        """Return the keys of the files directly under a folder, sorted."""
        with self._errors(prefix):
            infos = self.filesystem.get_file_info(fs.FileSelector(self.path(prefix), allow_not_found=True))
        names = (info.base_name for info in infos if info.type == fs.FileType.File)
        return [f"{prefix}/{name}" for name in sorted(names) if name.endswith(suffix)]

    def read_bytes(self, key: str) -> bytes:
        """Return a file without a checksum: text, images."""
        return bytes(self._read(key))

    def write_bytes(self, key: str, data: bytes, *, durable: bool = True) -> None:
        with self._replacing(key, durable=durable) as stream:
            stream.write(data)

    def read_json(self, key: str) -> Any:
        """Return an object that `write_json` wrote; raise DamagedError for any other content."""
        return self._verified(key, lambda data: seals.read_json(bytes(data)))

    def write_json(self, key: str, value: Mapping[str, Any], *, durable: bool = True) -> None:
        with self._replacing(key, durable=durable) as stream:
            stream.write(seals.json_bytes(value))

    def read_archive(self, key: str) -> bytes:
        """Return what torch.save wrote, its checksum verified; raise DamagedError if it is damaged or missing."""
        return self._verified(key, _archive)

    def write_archive(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Write the output of torch.save with a checksum, which torch.load ignores."""
        with self._replacing(key, durable=durable) as stream:
            stream.write(seals.archive_bytes(data))

    def read_table(self, key: str, *, columns: list[str] | None = None) -> pa.Table:
        """Return a table; raise DamagedError unless it is byte for byte what `write_table` wrote."""
        return self._verified(key, lambda data: seals.read_parquet(data, columns=columns))

    def write_table(self, key: str, table: pa.Table) -> None:
        with self._replacing(key) as stream:
            seals.write_parquet(table, stream)

    def _read(self, key: str) -> pa.Buffer:
        with self._errors(key), self.filesystem.open_input_file(self.path(key)) as stream:
            return stream.read_buffer()

    def _verified(self, key: str, parse: Callable[[pa.Buffer], T]) -> T:
        """Return a parsed file; set an artifact aside if a file of it is damaged or missing."""
        for attempt in range(2):
            try:
                data = self._read(key)
            except FileNotFoundError:
                if not key.startswith("artifacts/"):
                    raise
                raise self.set_aside(key) from None
            try:
                with self._errors(key):
                    return parse(data)
            except seals.Damaged as error:
                if attempt:  # read twice: it may have been replaced, or the transfer may have failed
                    raise self.set_aside(key, str(error)) from None
        raise AssertionError

    def set_aside(self, key: str, reason: str | None = None) -> DamagedError:
        """Move an artifact to `damaged/`, with all its files, and return the error to raise.

        `reason`: in what way it is damaged; None if the file is missing.
        """
        problem = "is missing" if reason is None else f"is damaged ({reason})"
        try:
            move_aside(self.filesystem, self.root, key)
            outcome = f"was moved to {DAMAGED}/" if reason else f"its record was moved to {DAMAGED}/"
        except (OSError, pa.ArrowException) as error:
            outcome = f"cannot be moved to {DAMAGED}/ ({error}), so delete it"
        return DamagedError(
            f"storage {self.shown!r}: {key} {problem} and {outcome}; `raybench run` makes it again", key
        )

    @contextmanager
    def _replacing(self, key: str, *, durable: bool = True) -> Iterator[Any]:
        """Open a partial file that replaces the key's file if the block ends without an error.

        `durable`: whether the file must survive a loss of power, which costs milliseconds on a local disk.
        """
        temporary = partial.new_key()
        with self._errors(key, writing=True):
            for folder in (self.path(partial.FOLDER), os.path.dirname(self.path(key))):
                self._create_folder(folder)
            try:
                with self._open(temporary) as stream:
                    yield stream
                if self.is_local and durable:
                    replace(self.path(temporary), self.path(key))
                else:
                    self.filesystem.move(self.path(temporary), self.path(key))
            except BaseException:
                with suppress(StorageError):
                    self.delete(temporary)  # frees space on a full disk
                raise

    def _create_folder(self, folder: str) -> None:
        """Create a folder; once per process on a remote filesystem, where it takes several requests."""
        if self.is_local or folder not in self._folders:
            self.filesystem.create_dir(folder, recursive=True)
            self._folders.add(folder)

    def _open(self, key: str) -> Any:
        path = self.path(key)
        return open(path, "wb") if self.is_local else self.filesystem.open_output_stream(path)

    def delete(self, key: str) -> None:
        """Remove a file if it exists."""
        with self._errors(key):
            try:
                self.filesystem.delete_file(self.path(key))
            except FileNotFoundError:
                return

    def scratch(self, run: str) -> str:
        """Return the folder that Ray writes to during a run; nothing in it is ever read again."""
        return f".ray/{run}"

    def remove_scratch(self, run: str) -> None:
        """Remove what Ray left in its folder; the caller has the run's lock."""
        with self._errors(self.scratch(run)), suppress(FileNotFoundError):
            self.filesystem.delete_dir(self.path(self.scratch(run)))

    def share(self, source: str, target: str) -> None:
        """Make the table at `source` available at `target` too: a hard link on a local disk, a copy elsewhere.

        A target that is complete is left alone. Raises DamagedError if the source was cut off.
        """
        if self._is_shared(source, target):
            return
        if self.is_local:
            with self._errors(target):
                os.makedirs(os.path.dirname(self.path(target)), exist_ok=True)
                link = self.path(partial.new_key())
                try:
                    os.link(self.path(source), link)
                    os.replace(link, self.path(target))
                    sync_folder_soon(os.path.dirname(self.path(target)))
                    return
                except OSError:  # a filesystem without hard links: copy below
                    Path(link).unlink(missing_ok=True)
        self.write_bytes(target, self.read_bytes(source))

    def _is_shared(self, source: str, target: str) -> bool:
        """Compare the ends of both files, which contain their checksums; a file that was cut off has another end."""
        with self._errors(source):
            infos = self.filesystem.get_file_info([self.path(source), self.path(target)])
            if infos[0].type == fs.FileType.NotFound or not seals.has_parquet_end(self._end(source, infos[0].size)):
                raise self.set_aside(source, "it was cut off")
            if infos[1].type == fs.FileType.NotFound or infos[0].size != infos[1].size:
                return False
            if self.is_local and os.path.samefile(self.path(source), self.path(target)):
                return True
            return self._end(source, infos[0].size) == self._end(target, infos[0].size)

    def _end(self, key: str, size: int) -> bytes:
        with self.filesystem.open_input_file(self.path(key)) as stream:
            stream.seek(max(0, size - END_BYTES))
            return bytes(stream.read())

    def sweep_partial(self, *, older_than_seconds: float = 86400.0) -> None:
        """Remove partial files that killed writers left: of this machine at once, of others a day later."""
        selector = fs.FileSelector(self.path(partial.FOLDER), allow_not_found=True)
        for info in self.filesystem.get_file_info(selector):
            age = 0.0 if info.mtime is None else time.time() - info.mtime.timestamp()
            if age > older_than_seconds or partial.is_abandoned(info.base_name):
                self.delete(f"{partial.FOLDER}/{info.base_name}")

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Lock a run for one driver; raise UserError that names the owner if another driver has the lock.

        A local lock ends with its process, however it dies; a remote one expires two minutes after its process died.
        """
        with ExitStack() as stack:
            with self._errors(key, writing=True):
                if self.is_local:
                    stack.enter_context(local_lock(self.path(key), key))
                else:
                    stack.enter_context(claim_lock(self.filesystem, self.path(key), key))
            yield
