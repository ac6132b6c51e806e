"""Images that are still encoded: where each one's bytes lie, as whole files or as pieces of larger ones.

A format lists its files in a fixed order and reads no pixels; decoding is `decode.py`, fixed shapes are `views.py`.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raybench.errors import UserError

WHOLE = -1  # length of an image that is a whole file
CHANNELS = 3  # decoding always gives RGB


@dataclass(frozen=True, eq=False)
class Encoded:
    """N images under one folder; `offset` and `length` cut an image out of a larger file (a Parquet shard, say)."""

    root: str
    files: np.ndarray  # (F,) str: file names relative to root, with /
    file: np.ndarray  # (N,) int64: which of `files` holds image i
    offset: np.ndarray  # (N,) int64: where in the file it begins
    length: np.ndarray  # (N,) int64: its bytes, or WHOLE for the whole file

    def __post_init__(self) -> None:
        n = len(self.file)
        if not (len(self.offset) == len(self.length) == n > 0) or self.files.dtype.kind != "U":
            raise UserError(f"encoded images need at least one file, and as many offsets and lengths; found {n} images")
        if self.file.min() < 0 or self.file.max() >= len(self.files):
            raise UserError(f"images refer to files 0 to {self.file.max()}, but {len(self.files)} are listed")

    @classmethod
    def of_files(cls, root: Path, names: Sequence[str]) -> "Encoded":
        """List whole files, one image each, in the given order; nothing is read, nothing need exist yet."""
        n = len(names)
        files = np.array(names, dtype=np.str_)
        return cls(str(root), files, np.arange(n), np.zeros(n, dtype=np.int64), np.full(n, WHOLE, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.file)

    def name(self, i: int) -> str:
        """Return the full path of the file that holds image `i`."""
        return f"{self.root}/{self.files[self.file[i]]}"

    def read(self, i: int) -> bytes:
        """Return the encoded bytes of image `i`; raises UserError with its path where they cannot be read."""
        length = int(self.length[i])
        try:
            with open(self.name(i), "rb") as file:
                if length == WHOLE:
                    return file.read()
                file.seek(int(self.offset[i]))
                content = file.read(length)
        except OSError as error:
            raise UserError(f"{self.name(i)}: cannot be read: {error.strerror}") from error
        if len(content) < length:
            raise UserError(f"{self.name(i)}: ends before image {i}: {len(content)} of {length} bytes are there")
        return content

    def sizes(self) -> np.ndarray:
        """Return the bytes of every image, int64 (N,); raises UserError naming the first files that are missing."""
        return self._sizes

    @functools.cached_property
    def _sizes(self) -> np.ndarray:
        # asked for by every fingerprint of the set: a million files are looked at once
        sizes = np.array(self.length)
        whole = np.flatnonzero(sizes == WHOLE)
        missing: list[str] = []
        for i in whole.tolist():
            try:
                sizes[i] = Path(self.name(i)).stat().st_size
            except OSError:
                missing.append(str(self.files[self.file[i]]))
        if missing:
            listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise UserError(f"{self.root}: {len(missing)} of {len(self)} image files are missing: {listed}")
        return sizes

    def fingerprint(self, *, content: bool) -> str:
        """Hash the names and sizes of all images, and with `content` also their bytes, into 16 hex characters.

        Reading every byte is right for a set that is decoded into memory anyway; for one that is streamed, names and
        sizes must do.
        """
        digest = hashlib.blake2b(digest_size=8)
        for name in self.files:
            digest.update(str(name).encode() + b"\0")
        for array in (self.file, self.offset, self.sizes()):
            digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        if content:
            for i in range(len(self)):
                digest.update(hashlib.blake2b(self.read(i), digest_size=8).digest())
        return digest.hexdigest()
