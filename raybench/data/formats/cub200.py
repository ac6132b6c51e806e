"""CUB-200-2011: 11,788 photographs of 200 bird species.

Layout: images/ and four text files whose lines are joined by image id. Official splits: training, test (optional).
Groups: none. License: non-commercial research. Reference: Wah et al. 2011, CNS-TR-2011-001.
"""

from pathlib import Path

import numpy as np

from raybench.data.files.folders import photographs, require_files
from raybench.data.images import TEST, TRAIN, ImageData, dataset
from raybench.data.listing import first_few
from raybench.errors import UserError

FOLDER = "CUB_200_2011"
FILES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


@dataset(
    source="Wah et al. 2011, Caltech technical report CNS-TR-2011-001",
    needs=f"{FOLDER}/ (or is that folder) with {', '.join(FILES)} and images/",
    public=True,
)
def cub200(root: Path, *, download: bool = False, official_split: bool = False) -> ImageData:
    """Read the images in the order of images.txt; class id = number in classes.txt - 1.

    With `official_split`, use train_test_split.txt; otherwise all images are in the training split, as in transfer
    evaluations that split at random. Raises UserError for malformed lines, ids that one file lacks, and missing images.
    """
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise UserError(f"cub200: {str(folder)!r} lacks {', '.join(missing)} (expected: {', '.join(FILES)})")
    paths, labels, is_train, classes = (read_lines(folder / name) for name in FILES)
    for name, values in zip(FILES[1:3], (labels, is_train)):
        if different := sorted(set(paths) ^ set(values)):
            raise UserError(
                f"{folder / name}: {len(different)} image ids occur only here or only in images.txt: "
                f"{first_few(different)}"
            )
    if sorted(classes) != list(range(1, len(classes) + 1)):
        raise UserError(f"{folder / 'classes.txt'}: the numbers should run from 1 to {len(classes)} without gaps")
    for name, values, allowed in (
        ("image_class_labels.txt", labels, classes),
        ("train_test_split.txt", is_train, "01"),
    ):
        keys = {str(key) for key in allowed}
        if wrong := next((i for i, value in values.items() if value not in keys), None):
            limits = f"1 to {len(classes)}" if allowed is classes else "0 or 1"
            raise UserError(f"{folder / name}: image {wrong} has {values[wrong]!r}, expected {limits}")
    names = [f"images/{path}" for path in paths.values()]
    require_files(folder, names, listed_in=str(folder / "images.txt"))
    ids = np.array([int(labels[i]) - 1 for i in paths], dtype=np.int64)
    train = np.array([not official_split or is_train[i] == "1" for i in paths])
    positions = [(part, np.flatnonzero(train == (part == TRAIN))) for part in (TRAIN, TEST)]
    class_names = [classes[number].partition(".")[2] or classes[number] for number in sorted(classes)]
    return photographs(
        folder, [(part, [names[i] for i in at], ids[at]) for part, at in positions if len(at)], class_names
    )


def read_lines(path: Path) -> dict[int, str]:
    """Read lines of a number and a text, in order."""
    texts: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        key, _, text = line.strip().partition(" ")
        if not line.strip():
            continue
        if not key.isdecimal() or not text.strip() or int(key) in texts:
            raise UserError(f"{path}: line {number} is {line!r}, expected a unique number and a text")
        texts[int(key)] = text.strip()
    if not texts:
        raise UserError(f"{path}: is empty")
    return texts
