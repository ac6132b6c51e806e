"""Images listed in a text file, one `path label` per line.

Layout: list files in root and images with paths relative to root. Official splits: training, test (with `test_file`).
Labels: class ids. Groups: none. Reference: the list files of domain adaptation, for instance DomainNet's.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench import limits
from raybench.data.files.folders import photographs, relative_name, require_files
from raybench.data.files.text import read_text
from raybench.data.images import TEST, TRAIN, ImageData, dataset
from raybench.data.listing import first_few
from raybench.errors import UserError

ALLOWED = f"0 to {limits.CLASSES - 1}; is it a class id?"  # a model has one row of weights per id up to the highest


@dataset(
    source="the list files of domain adaptation, for instance DomainNet's",
    needs="a .txt file of lines `path label` and the images that it names, relative to root",
)
def list_file(
    root: Path, *, download: bool = False, file: str | None = None, test_file: str | None = None
) -> ImageData:
    """Read the images of `file` in order, then those of `test_file` as the test split.

    Both are relative to `root`; without `file`, root must contain exactly one .txt file. Every line counts, including
    the last one. A class is named by the folder of its images if no other class uses that folder, else by its id.
    Raises UserError for malformed lines, images that are listed twice, and missing images.
    """
    listed = [(TRAIN, only_list(root) if file is None else root / file)]
    if test_file is not None:
        listed.append((TEST, root / test_file))
    parts = [(part, *read_list(path)) for part, path in listed]
    require_unique([name for _, names, _ in parts for name in names], listed_in=first_few(path for _, path in listed))
    for (_, path), (_, names, _) in zip(listed, parts):
        require_files(root, names, listed_in=str(path))
    return photographs(root, parts, names_of_classes(parts))


def only_list(root: Path) -> Path:
    """Return the only .txt file in `root`."""
    paths = sorted(path for path in root.glob("*.txt") if not path.name.startswith("."))
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise UserError(f"list_file: set option `file`, the name of the list: {str(root)!r} contains {names}")
    return paths[0]


def read_list(path: Path) -> tuple[list[str], np.ndarray]:
    """Read paths and class ids, (N,) int64; a path may contain spaces, empty lines are skipped.

    Paths are normalized (`./a.png` is `a.png`), so that no image can be listed twice, and lie below root.
    """
    lines = read_text(path, "a list of images").splitlines()
    names: list[str] = []
    labels: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().replace("\t", " ").rpartition(" ")
        if not name.strip() or not (label.isascii() and label.isdecimal()):
            raise UserError(
                f"{path}: line {number} is {line!r}, expected a path, a space and a class id of 0 or more "
                "(dataset manifest reads labels that are names)"
            )
        if len(label.lstrip("0")) > limits.DIGITS or int(label) >= limits.CLASSES:
            raise UserError(f"{path}: line {number}: label {label[: limits.NAME]} is out of range (allowed: {ALLOWED})")
        names.append(relative_name(name.strip(), f"{path}: line {number}"))
        labels.append(int(label))
    if not names:
        raise UserError(f"{path}: lists no images")
    return names, np.array(labels, dtype=np.int64)


def require_unique(names: Sequence[str], *, listed_in: str) -> None:
    """Raise UserError for images that are listed more than once, because two roles could share them."""
    if len(set(names)) < len(names):
        counts = Counter(names)
        repeated = [name for name, count in counts.items() for _ in range(count - 1)]
        raise UserError(f"{listed_in}: {len(repeated)} images are listed more than once: {first_few(repeated)}")


def names_of_classes(parts: Sequence[tuple[int, list[str], np.ndarray]]) -> list[str]:
    """Name each class by a folder that contains its images only, else by its id."""
    folders: dict[int, set[str]] = {}
    for _, names, labels in parts:
        for name, label in zip(names, labels.tolist()):
            folders.setdefault(label, set()).add(name.rpartition("/")[0].rpartition("/")[2])
    uses = Counter(folder for class_folders in folders.values() for folder in class_folders)
    folder_of = {i: next(iter(class_folders)) for i, class_folders in folders.items() if len(class_folders) == 1}
    count = max(folders) + 1
    return [folder_of[i] if folder_of.get(i) and uses[folder_of[i]] == 1 else str(i) for i in range(count)]
