"""Images that a text file lists: a line for each, its path, a space and its class id."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench.data.files.folders import photographs, require_files, shown
from raybench.data.images import TEST, TRAIN, ImageData, dataset
from raybench.errors import UserError

MOST_CLASSES = 100_000  # a model has a row of weights for each id up to the highest


@dataset(
    source="the list files of domain adaptation, for instance DomainNet's",
    needs="a .txt file of lines `path label` and the images that it names, relative to root",
)
def list_file(
    root: Path, *, download: bool = False, file: str | None = None, test_file: str | None = None
) -> ImageData:
    """Read the images of `file` in its order, and those of `test_file` as the test part.

    Both are relative to `root`; without `file` root must hold exactly one .txt file. Every line counts, the last one
    too. A class is named by the folder of its images where it has one to itself, else by its id. Raises UserError for
    lines of another form, images that are listed twice, and missing images.
    """
    listed = [(TRAIN, only_list(root) if file is None else root / file)]
    if test_file is not None:
        listed.append((TEST, root / test_file))
    parts = [(part, *read_list(path)) for part, path in listed]
    require_unique([name for _, names, _ in parts for name in names], listed_in=shown([str(p) for _, p in listed]))
    for (_, path), (_, names, _) in zip(listed, parts):
        require_files(root, names, listed_in=str(path))
    return photographs(root, parts, names_of_classes(parts))


def only_list(root: Path) -> Path:
    """Return the one .txt file in `root`."""
    found = sorted(path for path in root.glob("*.txt") if not path.name.startswith("."))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(f"list_file: give option `file`, the list's name: {str(root)!r} holds {names}")
    return found[0]


def read_list(path: Path) -> tuple[list[str], np.ndarray]:
    """Read paths and class ids (N,) int64 of all lines; a path may hold spaces, an empty line is passed over."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list of images: {error}") from error
    names: list[str] = []
    labels: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().replace("\t", " ").rpartition(" ")
        if not name.strip() or not (label.isascii() and label.isdecimal()):
            raise UserError(
                f"{path}: line {number} is {line!r}, expected a path, a space and a class id of 0 or more "
                "(for labels that are names: dataset manifest)"
            )
        names.append(name.strip())
        labels.append(int(label))
    if not names:
        raise UserError(f"{path}: lists no images")
    return names, np.array(labels, dtype=np.int64)


def require_unique(names: Sequence[str], *, listed_in: str) -> None:
    """Raise UserError for images that are listed more than once: two roles could share them."""
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        raise UserError(f"{listed_in}: {len(twice)} images are listed more than once: {shown(twice)}")


def names_of_classes(parts: Sequence[tuple[int, list[str], np.ndarray]]) -> list[str]:
    """Name each class by the folder that holds its images and no other's, else by its id."""
    folders: dict[int, set[str]] = {}
    for _, names, labels in parts:
        for name, label in zip(names, labels.tolist()):
            folders.setdefault(label, set()).add(name.rpartition("/")[0].rpartition("/")[2])
    own = [folder for found in folders.values() for folder in found]
    named = {i: next(iter(found)) for i, found in folders.items() if len(found) == 1}
    count = max(folders) + 1
    if count > MOST_CLASSES:
        raise UserError(f"label {count - 1} is out of range (allowed: 0 to {MOST_CLASSES - 1}); is it a class id?")
    return [named[i] if named.get(i) and own.count(named[i]) == 1 else str(i) for i in range(count)]
