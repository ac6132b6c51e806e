"""Find the files that a list names, in the first of several folders that has them, whatever their case on this disk.

Folders are read once, to look names up in them; a file that no list names is never taken.
"""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from raybench.errors import UserError


def locate(root: Path, names: Sequence[str], folders: Sequence[str]) -> list[str | None]:
    """Return for each name the path of its file relative to `root`, or None where there is none.

    A name that comes with folders is looked up there first, then its last part in each of `folders`, of which "" is
    root itself. A file of exactly that name wins over one that differs in case.
    """
    listing = functools.cache(lambda folder: read_folder(root / folder))
    return [find(name, folders, listing) for name in names]


def find(name: str, folders: Sequence[str], listing: Callable[[str], dict[str, str]]) -> str | None:
    path = PurePosixPath(name.replace("\\", "/"))
    inside = len(path.parts) > 1 and not path.is_absolute() and ".." not in path.parts
    for folder in ([str(path.parent)] if inside else []) + list(folders):
        files = listing(folder)
        found = files.get(path.name) or files.get(path.name.lower())
        if found:
            return f"{folder}/{found}" if folder else found
    return None


def read_folder(folder: Path) -> dict[str, str]:
    """Map the names in a folder, and their lower-case forms, to the names; empty where there is no such folder."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return {name.lower(): name for name in reversed(names)} | {name: name for name in names}


def refuse_missing(names: Sequence[str], paths: Sequence[str | None], *, dataset: str, where: str) -> list[str]:
    """Return the paths, or raise UserError that counts the missing files and names the first of them."""
    missing = [name for name, path in zip(names, paths) if path is None]
    if missing:
        listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(f"{dataset}: {len(missing)} of {len(names)} image files are missing: {listed} ({where})")
    return [path for path in paths if path is not None]
