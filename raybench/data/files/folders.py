"""Listing image files in a fixed order: sorted names or the order of a list, never that of the file system.

Nothing is opened: one listing per folder is enough for 1.28 million files. Hidden entries (.DS_Store, ._x.jpg) and
files that are no images by their name (Thumbs.db, README) are passed over; upper and lower case of .JPG do not matter.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, ImageData
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


def scan(folder: str | Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the images in `folder`, each sorted; raises UserError for a file."""
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
    """List the class folders in `folder`, sorted; raises UserError where there are none, or images beside them."""
    folders, images = scan(folder)
    if images:
        raise UserError(
            f"{str(folder)!r} holds {len(images)} images beside its class folders: {shown(images)}; "
            "each image belongs into the folder of its class"
        )
    if not folders:
        raise UserError(f"{str(folder)!r} holds no class folders")
    return folders


def images_below(folder: Path) -> list[str]:
    """List the images in `folder` at any depth, sorted; names are relative to it, with /."""
    found: list[str] = []
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        folders, images = scan(os.path.join(folder, inner))
        found += [inner + name for name in images]
        waiting += [f"{inner}{name}/" for name in folders]
    return sorted(found)


def images_of_classes(root: Path, part: str, classes: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """List the images of the class folders in root/part, class by class: names relative to `root`, places in `classes`.

    `part` may be empty. Raises UserError naming the class folders that hold no image.
    """
    names: list[str] = []
    counts: list[int] = []
    inner = f"{part}/" if part else ""
    for name in classes:
        below = images_below(root / part / name)
        counts.append(len(below))
        names += [f"{inner}{name}/{image}" for image in below]
    if empty := [name for name, count in zip(classes, counts) if not count]:
        raise UserError(
            f"{str(root / part)!r}: {len(empty)} class folders hold no image: {shown(empty)} "
            f"(images are {', '.join(EXTENSIONS)})"
        )
    return names, np.repeat(np.arange(len(classes), dtype=np.int64), counts)


def missing_files(root: Path, names: Sequence[str]) -> list[int]:
    """Return the places in `names` of the files that are not there; every folder is listed once."""
    present: dict[str, set[str]] = {}
    missing = []
    for i, name in enumerate(names):
        parent, _, file = name.rpartition("/")
        if parent not in present:
            folder = root / parent
            present[parent] = set(os.listdir(folder)) if folder.is_dir() else set()
        if file not in present[parent]:
            missing.append(i)
    return missing


def require_files(root: Path, names: Sequence[str], *, listed_in: str) -> None:
    """Raise UserError with the count and the first of the files that a list names and the disk does not hold."""
    if missing := missing_files(root, names):
        raise UserError(
            f"{listed_in}: {len(missing)} of {len(names)} listed images are missing below {str(root)!r}: "
            f"{shown([names[i] for i in missing])}"
        )


def photographs(
    root: Path, parts: Sequence[tuple[int, Sequence[str], np.ndarray]], class_names: Sequence[str]
) -> ImageData:
    """Build the data set of image files in the given order; `parts` are (part, names relative to root, labels)."""
    names = [name for _, listed, _ in parts for name in listed]
    return ImageData(
        images=Encoded.of_files(root, names),
        labels=np.concatenate([labels for _, _, labels in parts]).astype(np.int64),
        part=np.repeat(np.array([part for part, _, _ in parts], dtype=np.uint8), [len(n) for _, n, _ in parts]),
        class_names=tuple(class_names),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def shown(names: Sequence[str]) -> str:
    """Join the first five names."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
