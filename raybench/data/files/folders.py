"""List image files in a fixed order: sorted names or the order of a list, never that of the file system.

No file is opened; one listing per folder suffices for 1.28 million files. Hidden files (.DS_Store, ._x.jpg) and files
without an image extension (Thumbs.db, README) are ignored; extensions are case-insensitive.
"""

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, ImageData
from raybench.data.listing import first_few
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


def scan(folder: str | Path) -> tuple[list[str], list[str]]:
    """Return the names of the subfolders and of the images in `folder`, each sorted."""
    folders, images = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(name)
                elif name.lower().endswith(EXTENSIONS):
                    if not entry.is_file() and not entry.is_symlink():  # reading a pipe would wait for its writer
                        raise UserError(f"{entry.path!r} is no regular file; remove it")
                    images.append(name)
    except NotADirectoryError as error:
        raise UserError(f"{str(folder)!r} is a file, expected a folder") from error
    except FileNotFoundError as error:
        raise UserError(f"there is no folder {str(folder)!r}") from error
    except OSError as error:
        raise UserError(f"{str(folder)!r} cannot be listed: {error.strerror}") from error
    for name in (*folders, *images):
        if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
            raise UserError(f"{str(folder)!r}: the name {name!r} is not UTF-8; rename it")
    return sorted(folders), sorted(images)


def class_folders(folder: Path) -> list[str]:
    """List the class folders in `folder`, sorted; raise UserError if there are none, or images next to them."""
    folders, images = scan(folder)
    if images:
        raise UserError(
            f"{str(folder)!r} contains {len(images)} images next to its class folders: "
            f"{first_few(images)}; move each image into the folder of its class"
        )
    if not folders:
        raise UserError(f"{str(folder)!r} contains no class folders")
    return folders


def images_below(folder: Path) -> list[str]:
    """List the images in `folder` at any depth, sorted, with paths relative to it."""
    names: list[str] = []
    subfolders = [""]
    while subfolders:
        subfolder = subfolders.pop()
        folders, images = scan(os.path.join(folder, subfolder))
        names += [subfolder + name for name in images]
        subfolders += [f"{subfolder}{name}/" for name in folders]
    return sorted(names)


def images_of_classes(root: Path, split: str, classes: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """List the images of the class folders in root/split, class by class: paths relative to `root`, and class ids.

    `split` may be empty. Raises UserError that lists class folders without images.
    """
    names: list[str] = []
    counts: list[int] = []
    prefix = f"{split}/" if split else ""
    for name in classes:
        images = images_below(root / split / name)
        counts.append(len(images))
        names += [f"{prefix}{name}/{name_in_class}" for name_in_class in images]
    if empty := [name for name, count in zip(classes, counts) if not count]:
        raise UserError(
            f"{str(root / split)!r}: {len(empty)} class folders contain no image: {first_few(empty)} "
            f"(images are {', '.join(EXTENSIONS)})"
        )
    return names, np.repeat(np.arange(len(classes), dtype=np.int64), counts)


def relative_name(value: str, where: str, root: Path | None = None) -> str:
    """Return a listed path in its one form, relative to root; raise UserError for a file outside root.

    A path that begins with root is accepted too, where root is given.
    """
    name = posixpath.normpath(value)
    if root is not None:
        name = name.removeprefix(f"{root}/")
    if name.startswith("/") or name.split("/")[0] == ".." or name == "." or "\0" in name:
        raise UserError(f"{where}: {value!r} is outside root; paths are relative to root, and name a file below it")
    return name


def missing_files(root: Path, names: Sequence[str]) -> list[int]:
    """Return the positions in `names` of the files that do not exist; every folder is listed once."""
    present: dict[str, set[str]] = {}
    missing = []
    for i, name in enumerate(names):
        parent, _, file = name.rpartition("/")
        if parent not in present:
            present[parent] = _regular_files(root / parent)
        if file not in present[parent]:
            missing.append(i)
    return missing


def _regular_files(folder: Path) -> set[str]:
    """Return the names of the files in a folder, links to files included; empty if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (OSError, ValueError):
        return set()


def require_files(root: Path, names: Sequence[str], *, listed_in: str) -> None:
    """Raise UserError with the number and the first few of the listed files that do not exist."""
    if missing := missing_files(root, names):
        raise UserError(
            f"{listed_in}: {len(missing)} of {len(names)} listed images are missing below {str(root)!r}: "
            f"{first_few(names[i] for i in missing)}"
        )


def photographs(
    root: Path, parts: Sequence[tuple[int, Sequence[str], np.ndarray]], class_names: Sequence[str]
) -> ImageData:
    """Build the dataset of image files in the given order; `parts` are (official split, names, labels)."""
    names = [name for _, listed, _ in parts for name in listed]
    return ImageData(
        images=Encoded.of_files(root, names),
        labels=np.concatenate([labels for _, _, labels in parts]).astype(np.int64),
        part=np.repeat(np.array([part for part, _, _ in parts], dtype=np.uint8), [len(n) for _, n, _ in parts]),
        class_names=tuple(class_names),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
