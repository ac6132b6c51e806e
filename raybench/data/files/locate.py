"""Find the files of a list in the first of several folders that contains them, ignoring case if necessary.

Folders are read once to look names up in them; files that are not listed are never used.
"""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from raybench.data.listing import first_few
from raybench.errors import UserError


def locate(root: Path, names: Sequence[str], folders: Sequence[str]) -> list[str | None]:
    """Return for each name the path of its file relative to `root`, or None if there is none.

    A name with folders is looked up there first, then its last component in each of `folders` ("" is root itself). An
    exact match takes precedence over one that differs in case.
    """
    listing = functools.cache(lambda folder: read_folder(root / folder))
    return [find(name, folders, listing) for name in names]


def find(name: str, folders: Sequence[str], listing: Callable[[str], dict[str, str]]) -> str | None:
    """Return the path of one file relative to root, or None."""
    path = PurePosixPath(name.replace("\\", "/"))
    is_relative = len(path.parts) > 1 and not path.is_absolute() and ".." not in path.parts
    for folder in ([str(path.parent)] if is_relative else []) + list(folders):
        files = listing(folder)
        match = files.get(path.name) or files.get(path.name.lower())
        if match:
            return f"{folder}/{match}" if folder else match
    return None


def read_folder(folder: Path) -> dict[str, str]:
    """Map the names in a folder, and their lower-case forms, to the names; empty if the folder does not exist."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return {name.lower(): name for name in reversed(names)} | {name: name for name in names}


def refuse_missing(names: Sequence[str], paths: Sequence[str | None], *, dataset: str, where: str) -> list[str]:
    """Return the paths; raise UserError that counts the missing files and lists the first few."""
    missing = [name for name, path in zip(names, paths) if path is None]
    if missing:
        raise UserError(
            f"{dataset}: {len(missing)} of {len(names)} image files are missing: {first_few(missing)} ({where})"
        )
    return [path for path in paths if path is not None]
