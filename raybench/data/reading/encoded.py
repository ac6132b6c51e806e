"""Encoded images: which bytes of which file hold each one, as whole files or as byte ranges of larger files.

A format lists its files in a fixed order and reads no pixels; `decode_image.py` decodes, `views.py` fixes the shape.
"""

import functools
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from raybench import limits
from raybench.data.listing import first_few
from raybench.data.reading.names import UNKNOWN, Names
from raybench.errors import UserError

STATUS_THREADS, STATUSES_TOGETHER = 16, 4096
WHOLE = -1  # the length of an image that is a whole file
NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # opening a pipe waits for its writer otherwise
CHANNELS = 3  # decoding always returns RGB


def open_regular(path: str) -> BinaryIO:
    """Open a file for reading; raise UserError for a pipe or a device, which could block forever, or a huge image."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | NONBLOCK))  # noqa: SIM115
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise UserError(f"{path}: is no regular file")
    return file


def sizes_of(root: str, names: Sequence[str]) -> list[int]:
    """Return the size of each file in bytes, UNKNOWN for a file that does not exist; in threads, for disks far away."""

    def sizes(start: int) -> list[int]:
        return [size(name) for name in names[start : start + STATUSES_TOGETHER]]

    def size(name: str) -> int:
        try:
            return os.stat(f"{root}/{name}").st_size
        except OSError:
            return UNKNOWN

    with ThreadPoolExecutor(STATUS_THREADS) as threads:
        return list(chain.from_iterable(threads.map(sizes, range(0, len(names), STATUSES_TOGETHER))))


@dataclass(frozen=True, eq=False)
class Encoded:
    """N images below one folder; `offset` and `length` select an image in a larger file (such as a Parquet shard)."""

    root: str
    files: Names  # (F,) file names relative to root, with /
    file: np.ndarray  # (N,) int64: the position in `files` of the file with image i
    offset: np.ndarray  # (N,) int64: where it begins in the file
    length: np.ndarray  # (N,) int64: its bytes, or WHOLE for the whole file

    def __post_init__(self) -> None:
        n = len(self.file)
        if not (len(self.offset) == len(self.length) == n > 0):
            raise UserError(
                f"encoded images need at least one file and one offset and length per image; found {n} images"
            )
        if self.offset.min() < 0 or self.length.min() < WHOLE:
            raise UserError(f"images begin at byte {self.offset.min()} and have {self.length.min()} bytes")
        if self.file.min() < 0 or self.file.max() >= len(self.files):
            raise UserError(f"images refer to files 0 to {self.file.max()}, but {len(self.files)} are listed")

    @classmethod
    def of_files(cls, root: Path, names: Iterable[str] | Names) -> "Encoded":
        """List whole files, one image each, in the given order; nothing is read, and files need not exist yet."""
        files = Names.of(names)
        n = len(files)
        same = (np.broadcast_to(np.int64(value), n) for value in (0, WHOLE))  # one number in memory, not n
        return cls(str(root), files, np.arange(n), *same)

    def __len__(self) -> int:
        return len(self.file)

    def name(self, i: int) -> str:
        """Return the full path of the file with image `i`."""
        return f"{self.root}/{self.files[self.file[i]]}"

    def read(self, i: int) -> bytes:
        """Return the encoded bytes of image `i`; raise UserError with its path if they cannot be read."""
        length = int(self.length[i])
        try:
            with open_regular(self.name(i)) as file:
                if length == WHOLE:
                    if (size := os.fstat(file.fileno()).st_size) > limits.IMAGE_BYTES:
                        raise UserError(f"{self.name(i)}: has {size:,} bytes (allowed: {limits.IMAGE_BYTES:,})")
                    return file.read()
                file.seek(int(self.offset[i]))
                content = file.read(min(length, limits.IMAGE_BYTES))
        except OSError as error:
            raise UserError(f"{self.name(i)}: cannot be read: {error.strerror}") from error
        if len(content) < length:
            raise UserError(f"{self.name(i)}: ends within image {i}: it has {len(content)} of {length} bytes")
        return content

    def sizes(self) -> np.ndarray:
        """Return the size of every image in bytes, int64 (N,); raise UserError that lists missing files."""
        return self._sizes

    @functools.cached_property
    def _sizes(self) -> np.ndarray:
        sizes = np.array(self.length)  # cached because every fingerprint needs it
        whole = sizes == WHOLE
        if not whole.any():
            return sizes
        needed = np.zeros(len(self.files), dtype=bool)
        needed[self.file[whole]] = True
        of_files = np.full(len(self.files), UNKNOWN) if self.files.sizes is None else np.array(self.files.sizes)
        needed &= of_files == UNKNOWN
        if needed.any():
            names = [name for name, is_needed in zip(self.files, needed) if is_needed]
            of_files[needed] = sizes_of(self.root, names)
            if missing := [name for name, size in zip(names, of_files[needed]) if size == UNKNOWN]:
                raise UserError(
                    f"{self.root}: {len(missing)} of {len(self)} image files are missing: {first_few(missing)}"
                )
        sizes[whole] = of_files[self.file[whole]]
        return sizes

    def fingerprint(self, *, content: bool) -> str:
        """Hash the names and sizes of all images, and with `content` also their bytes, into 16 hex characters.

        Use `content` for a dataset that is decoded into memory anyway; for a streamed one, names and sizes have to
        suffice.
        """
        if not content:
            return self._listing
        digest = self._hash_listing()
        for i in range(len(self)):
            digest.update(hashlib.blake2b(self.read(i), digest_size=8).digest())
        return digest.hexdigest()

    def appearance(self) -> str:
        """Hash names, positions and sizes, and what tells on this machine that a file changed: its times, its inode."""
        statuses = (os.stat(f"{self.root}/{name}") for name in self.files)
        seen = [(status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev) for status in statuses]
        listing = self.fingerprint(content=False).encode()
        return hashlib.blake2b(listing + np.array(seen, dtype="<u8").tobytes(), digest_size=8).hexdigest()

    @functools.cached_property
    def _listing(self) -> str:
        return self._hash_listing().hexdigest()  # once: several keys depend on it

    def _hash_listing(self) -> "hashlib.blake2b":
        digest = hashlib.blake2b(self.files.text.data, digest_size=8)
        for array in (self.file, self.offset, self.sizes()):
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest
