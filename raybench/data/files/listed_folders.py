"""Remember which files folders contain, so that a folder that did not change is not listed again.

The operating system changes the time of a folder when an entry is added, removed or renamed in it; this time cannot be
set by a program. It does not tell that the content of a file changed. So what is remembered serves a plan
(`raybench check`); a run lists all folders and reads the sizes of all files again.
"""

import hashlib
import os
import random
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raybench.data.reading.names import UNKNOWN, Names

FORMAT = 1
REMEMBERED_FROM = 10_000  # files: fewer are listed in a fraction of a second
SETTLED_NS = 2 * 10**9  # a folder may change again within the resolution of its time; git uses the same margin


@dataclass(frozen=True)
class Listed:
    """The sorted names of a folder's subfolders and images, with the sizes of the images in bytes."""

    folders: Names
    images: Names
    appearance: tuple[int, int, int] = (0, 0, 0)


class Memory:
    """The folders that were listed below one root; `trusted` are those of an earlier process."""

    def __init__(self, trusted: dict[str, Listed]) -> None:
        self.trusted = trusted
        self.listed: dict[str, Listed] = {}
        self.num_reused = 0

    def recall(self, folder: str) -> Listed | None:
        """Return what a folder contained if neither its time changed nor the size of one of its images, at random."""
        known = self.trusted.get(folder)
        if known is None or known.appearance != appearance(folder):
            return None
        names, sizes = Names(known.images.text), known.images.sizes
        if sizes is not None and len(sizes):
            i = random.randrange(len(sizes))
            try:
                if os.stat(os.path.join(folder, names[i])).st_size != sizes[i]:
                    return None
            except OSError:
                return None
        self.listed[folder] = known
        self.num_reused += 1
        return known

    def keep(self, folder: str, listed: Listed, since_ns: int) -> None:
        """Remember a folder that was listed from `since_ns` on, unless it changed too recently to notice a change."""
        if max(listed.appearance[:2]) < since_ns - SETTLED_NS:
            self.listed[folder] = listed


_memory: ContextVar[Memory | None] = ContextVar("listed_folders", default=None)


def current() -> Memory | None:
    """Return the memory of the enclosing `remembered`, for threads, which do not see it."""
    return _memory.get()


@contextmanager
def remembered(root: Path | None, cache: Path, *, trust: bool) -> Iterator[None]:
    """Remember the folders that are listed within the block in a file of `cache`, if they hold many files.

    `trust`: use what an earlier process has remembered, for folders whose time did not change.
    """
    if root is None:
        yield
        return
    file = cache / f"{hashlib.blake2b(os.path.realpath(root).encode(), digest_size=8).hexdigest()}.npz"
    memory = Memory(read(file) if trust else {})
    token = _memory.set(memory)
    try:
        yield
    finally:
        _memory.reset(token)
    is_new = memory.num_reused < len(memory.listed) or len(memory.listed) < len(memory.trusted)
    if is_new and sum(len(listed.images) for listed in memory.listed.values()) >= REMEMBERED_FROM:
        with suppress(OSError):  # a full or read-only home: the next process lists again
            write(file, memory.listed)


def appearance(folder: str) -> tuple[int, int, int]:
    """Return what changes with the entries of a folder: its times and its inode."""
    try:
        status = os.stat(folder)
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def now_ns() -> int:
    return time.time_ns()


def write(file: Path, listed: dict[str, Listed]) -> None:
    """Write what folders contain to a file, which appears complete or not at all."""
    values = list(listed.values())
    sizes = [np.full(len(v.images), UNKNOWN) if v.images.sizes is None else v.images.sizes for v in values]
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{uuid.uuid4().hex}.npz")
    try:
        np.savez(
            partial,
            format=FORMAT,
            paths=Names.of(list(listed)).text,
            appearances=np.array([v.appearance for v in values], dtype=np.int64),
            folders=Names.joined([v.folders for v in values]).text,
            images=Names.joined([v.images for v in values]).text,
            sizes=np.concatenate(sizes),
            lengths=np.array([[len(v.folders.text), len(v.images.text), len(v.images)] for v in values]),
        )
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def read(file: Path) -> dict[str, Listed]:
    """Return what `write` wrote; nothing if the file is missing, damaged or of another version."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            if int(stored["format"]) != FORMAT:
                return {}
            folders, images, sizes = stored["folders"], stored["images"], stored["sizes"]
            ends = np.cumsum(stored["lengths"], axis=0)
            starts = ends - stored["lengths"]
            rows = zip(Names(stored["paths"]), stored["appearances"].tolist(), starts.tolist(), ends.tolist())
            return {
                path: Listed(
                    Names(folders[start[0] : end[0]]),
                    Names(images[start[1] : end[1]], sizes[start[2] : end[2]]),
                    (seen[0], seen[1], seen[2]),
                )
                for path, seen, start, end in rows
            }
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        return {}
