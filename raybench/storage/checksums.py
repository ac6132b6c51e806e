"""Checksums of the files in a folder, beside them.

Reading a large folder takes a second per gigabyte, so files are read again only if one changed since they were verified
(size, time of modification, time of change of the entry), or if that was a week ago.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from raybench.storage import seals

CHECKSUMS = "checksums.json"
VERIFIED = "verified.json"  # what the files looked like when they were verified; it decides nothing but the effort
VERIFIED_SECONDS = 7 * 24 * 3600


def write(folder: Path) -> None:
    """Write the checksums of all files in a folder."""
    found = {path.name: _checksum(path) for path in _files(folder)}
    (folder / CHECKSUMS).write_bytes(seals.json_bytes(found))


def damage(folder: Path) -> str | None:
    """Return what is wrong with the files of a folder, in words; None if they are as they were written."""
    try:
        if _is_verified(folder):
            return None
        expected = seals.read_json((folder / CHECKSUMS).read_bytes())
        before = _appearance(folder)
        damaged = [name for name, value in expected.items() if _checksum(folder / name) != value]
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except seals.Damaged as error:
        return f"{CHECKSUMS}: {error}"
    if damaged:
        return f"{damaged[0]} differs from its checksum"
    _note(folder, before)
    return None


def mark_verified(folder: Path) -> None:
    """Note that the files of a folder are as they were written, which is known where they were just written."""
    _note(folder, _appearance(folder))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name not in (CHECKSUMS, VERIFIED))


def _appearance(folder: Path) -> dict[str, list[int]]:
    statuses = {path.name: path.stat() for path in [*_files(folder), folder / CHECKSUMS]}
    return {name: [status.st_size, status.st_mtime_ns, status.st_ctime_ns] for name, status in statuses.items()}


def _is_verified(folder: Path) -> bool:
    try:
        noted: Any = json.loads((folder / VERIFIED).read_text())
        age = time.time() - float(noted["time"])
        return 0 <= age < VERIFIED_SECONDS and noted["files"] == _appearance(folder)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _note(folder: Path, files: dict[str, list[int]]) -> None:
    try:
        (folder / VERIFIED).write_text(json.dumps({"time": time.time(), "files": files}))
    except OSError:
        return  # a storage that is only read is verified every time


def _checksum(path: Path) -> str:
    """Hash a file; one gigabyte takes about a second."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
