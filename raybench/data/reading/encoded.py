"""Encoded images: which bytes of which file hold each one, as whole files or as byte ranges of larger files.

A format lists its files in a fixed order and reads no pixels; `decode_image.py` decodes, `views.py` fixes the shape.
"""

import functools
import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from raybench import limits
from raybench.data.listing import first_few
from raybench.errors import UserError

HASHED_TOGETHER = 65_536  # names
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


@dataclass(frozen=True, eq=False)
class Encoded:
    """N images below one folder; `offset` and `length` select an image in a larger file (such as a Parquet shard)."""

    root: str
    files: np.ndarray  # (F,) str: file names relative to root, with /
    file: np.ndarray  # (N,) int64: the position in `files` of the file with image i
    offset: np.ndarray  # (N,) int64: where it begins in the file
    length: np.ndarray  # (N,) int64: its bytes, or WHOLE for the whole file

    def __post_init__(self) -> None:
        n = len(self.file)
        if not (len(self.offset) == len(self.length) == n > 0) or self.files.dtype.kind != "U":
            raise UserError(
                f"encoded images need at least one file and one offset and length per image; found {n} images"
            )
        if self.offset.min() < 0 or self.length.min() < WHOLE:
            raise UserError(f"images begin at byte {self.offset.min()} and have {self.length.min()} bytes")
        if self.file.min() < 0 or self.file.max() >= len(self.files):
            raise UserError(f"images refer to files 0 to {self.file.max()}, but {len(self.files)} are listed")

    @classmethod
    def of_files(cls, root: Path, names: Sequence[str]) -> "Encoded":
        """List whole files, one image each, in the given order; nothing is read, and files need not exist yet."""
        n = len(names)
        files = np.array(names, dtype=np.str_)
        return cls(str(root), files, np.arange(n), np.zeros(n, dtype=np.int64), np.full(n, WHOLE, dtype=np.int64))

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
        # cached because every fingerprint needs it; without a Path each, since a million of them take as long as stat
        sizes = np.array(self.length)
        entire_files = np.flatnonzero(sizes == WHOLE)
        missing: list[str] = []
        for i, name in zip(entire_files.tolist(), self.files[self.file[entire_files]].tolist()):
            try:
                sizes[i] = os.stat(f"{self.root}/{name}").st_size
            except (OSError, ValueError):
                missing.append(name)
        if missing:
            raise UserError(f"{self.root}: {len(missing)} of {len(self)} image files are missing: {first_few(missing)}")
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
        statuses = (os.stat(f"{self.root}/{name}") for name in self.files.tolist())
        seen = [(status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev) for status in statuses]
        listing = self.fingerprint(content=False).encode()
        return hashlib.blake2b(listing + np.array(seen, dtype="<u8").tobytes(), digest_size=8).hexdigest()

    @functools.cached_property
    def _listing(self) -> str:
        return self._hash_listing().hexdigest()  # once: several keys depend on it

    def _hash_listing(self) -> "hashlib.blake2b":
        digest = hashlib.blake2b(digest_size=8)
        for start in range(0, len(self.files), HASHED_TOGETHER):
            names = self.files[start : start + HASHED_TOGETHER].tolist()
            digest.update("".join(f"{name}\0" for name in names).encode())
        for array in (self.file, self.offset, self.sizes()):
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest
