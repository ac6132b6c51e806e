"""List image files in a fixed order: sorted names or the order of a list, never that of the file system.

No file is opened; one listing per folder suffices for 1.28 million files. Hidden files (.DS_Store, ._x.jpg) and files
without an image extension (Thumbs.db, README) are ignored; extensions are case-insensitive.
"""

import os
import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from raybench.data.files import listed_folders
from raybench.data.files.listed_folders import Listed, Memory
from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, ImageData
from raybench.data.listing import first_few
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.names import UNKNOWN, Names
from raybench.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
LISTING_THREADS = 16


def scan(folder: str | Path) -> tuple[list[str], list[str]]:
    """Return the names of the subfolders and of the images in `folder`, each sorted."""
    folders, images = _entries(folder, with_sizes=False)
    return folders, sorted(images)


def listed_folder(folder: str, memory: Memory | None) -> Listed:
    """Return the subfolders and the images of `folder` with their sizes; from memory, if it did not change."""
    if memory is not None and (known := memory.recall(folder)) is not None:
        return known
    since, before = listed_folders.now_ns(), listed_folders.appearance(folder)
    folders, images = _entries(folder, with_sizes=True)
    names = sorted(images)
    sizes = np.array([images[name] for name in names], dtype=np.int64)
    listed = Listed(Names.of(folders), Names.of(names, sizes), before)
    if memory is not None:
        memory.keep(folder, listed, since)
    return listed


def _entries(folder: str | Path, *, with_sizes: bool) -> tuple[list[str], dict[str, int]]:
    """Return the sorted names of the subfolders, and the images with their sizes, UNKNOWN where they are not read."""
    folders, images = [], {}
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
                    images[name] = _size(entry) if with_sizes else UNKNOWN
    except NotADirectoryError as error:
        raise UserError(f"{str(folder)!r} is a file, expected a folder") from error
    except FileNotFoundError as error:
        raise UserError(f"there is no folder {str(folder)!r}") from error
    except OSError as error:
        raise UserError(f"{str(folder)!r} cannot be listed: {error.strerror}") from error
    for name in (*folders, *images):
        if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
            raise UserError(f"{str(folder)!r}: the name {name!r} is not UTF-8; rename it")
    return sorted(folders), images


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a link to nowhere: reading the size of the images reports it
        return UNKNOWN


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


def images_below(folder: str | Path, memory: Memory | None = None) -> Names:
    """List the images in `folder` at any depth, sorted, with paths relative to it and their sizes."""
    parts: list[tuple[str, Names]] = []
    subfolders = [""]
    while subfolders:
        subfolder = subfolders.pop()
        listed = listed_folder(os.path.join(folder, subfolder), memory)
        parts.append((subfolder, listed.images))
        subfolders += [f"{subfolder}{name}/" for name in listed.folders]
    if len(parts) == 1:
        return parts[0][1]
    names = [f"{subfolder}{name}" for subfolder, images in parts for name in images]
    sizes = np.concatenate([images.sizes for _, images in parts if images.sizes is not None])
    order = sorted(range(len(names)), key=names.__getitem__)
    return Names.of([names[i] for i in order], sizes[order])


def images_of_classes(root: Path, split: str, classes: Sequence[str]) -> tuple[Names, np.ndarray]:
    """List the images of the class folders in root/split, class by class: paths relative to `root`, and class ids.

    `split` may be empty. Raises UserError that lists class folders without images.
    """
    memory, prefix = listed_folders.current(), f"{split}/" if split else ""

    def images_of(name: str) -> Names:
        return images_below(os.path.join(root, split, name), memory).below(f"{prefix}{name}/")

    if memory is not None and memory.trusted:
        images = list(map(images_of, classes))
    else:
        with ThreadPoolExecutor(LISTING_THREADS) as threads:  # a disk far away answers slowly, and many at once
            images = list(threads.map(images_of, classes))
    if empty := [name for name, listed in zip(classes, images) if not len(listed)]:
        raise UserError(
            f"{str(root / split)!r}: {len(empty)} class folders contain no image: {first_few(empty)} "
            f"(images are {', '.join(EXTENSIONS)})"
        )
    return Names.joined(images), np.repeat(np.arange(len(classes), dtype=np.int64), list(map(len, images)))


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
    root: Path, parts: Sequence[tuple[int, Sequence[str] | Names, np.ndarray]], class_names: Sequence[str]
) -> ImageData:
    """Build the dataset of image files in the given order; `parts` are (official split, names, labels)."""
    return ImageData(
        images=Encoded.of_files(root, Names.joined([Names.of(listed) for _, listed, _ in parts])),
        labels=np.concatenate([labels for _, _, labels in parts]).astype(np.int64, copy=False),
        part=np.repeat(np.array([part for part, _, _ in parts], dtype=np.uint8), [len(n) for _, n, _ in parts]),
        class_names=tuple(class_names),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
