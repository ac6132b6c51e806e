"""Your own images, one folder per class.

Layout: <class>/ with images at any depth, optionally below or above folders train, val, test, unseen. Official splits:
as these folders, else training only. Labels: the class folders. Groups: none.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from raybench.data.files.folders import class_folders, images_of_classes, photographs, scan
from raybench.data.images import PARTS, TEST, TRAIN, UNSEEN, ImageData, dataset
from raybench.data.listing import first_few
from raybench.errors import UserError, unknown

SPLITS = {"train": TRAIN, "val": TEST, "valid": TEST, "validation": TEST, "test": TEST, "unseen": UNSEEN}


@dataset(
    source="your own images",
    needs="one folder per class, images at any depth below it; above it optionally train/, val/, test/, unseen/",
)
def image_folder(root: Path, *, download: bool = False, split_depth: int | None = None) -> ImageData:
    """Read class folders: class id = position among the sorted names of the training split.

    `split_depth` is the level below root of the folders train, val, test or unseen: 0 none (all images are in the
    training split), 1 above the classes (train/dog/...), 2 directly below them (dog/train/...), 3 one level further
    down. The default is 1 if root contains only folders with these names, else 0. val, valid, validation and test are
    the test split; the experiment draws its validation samples from the training split. A split may lack classes of
    train, so ids never shift. Raises UserError for a class that train lacks, an empty class folder, and images next to
    class folders.
    """
    if split_depth is not None and (isinstance(split_depth, bool) or split_depth not in range(10)):
        raise UserError(f"split_depth is {split_depth!r}; it should be null or a whole number from 0 to 9")
    top = scan(root)[0]
    if split_depth is None:
        split_depth = int(bool(top) and all(name.lower() in SPLITS for name in top))
    if split_depth == 1:
        return of_split_folders(root, top)
    classes = class_folders(root)
    names, labels = images_of_classes(root, "", classes)
    if split_depth == 0:
        return photographs(root, [(TRAIN, names, labels)], classes)
    part = np.array([part_of(root, name, split_depth) for name in names], dtype=np.uint8)
    positions = {p: np.flatnonzero(part == p) for p in PARTS}
    require_train(root, set(part.tolist()))
    return photographs(
        root, [(p, [names[int(i)] for i in at], labels[at]) for p, at in positions.items() if len(at)], classes
    )


def of_split_folders(root: Path, splits: list[str]) -> ImageData:
    """Read root/<split>/<class>/..., the training split first, then the others sorted by name."""
    for split in splits:
        if split.lower() not in SPLITS:
            raise unknown(f"split folder in {str(root)!r}:", split, SPLITS, hint="; split_depth 0 if it is a class")
    require_train(root, {SPLITS[split.lower()] for split in splits})
    splits = sorted(splits, key=lambda split: SPLITS[split.lower()] != TRAIN)
    classes = class_folders(root / splits[0])
    id_of = {name: i for i, name in enumerate(classes)}
    parts = []
    for split in splits:
        split_classes = class_folders(root / split)
        if foreign := [name for name in split_classes if name not in id_of]:
            raise UserError(f"{str(root / split)!r} contains classes that {splits[0]!r} does not: {first_few(foreign)}")
        names, labels = images_of_classes(root, split, split_classes)
        parts.append((SPLITS[split.lower()], names, np.array([id_of[name] for name in split_classes])[labels]))
    return photographs(root, parts, classes)


def part_of(root: Path, name: str, depth: int) -> int:
    """Return the official split that the folder at level `depth` of the path names."""
    folders = PurePosixPath(name).parts[:-1]
    if len(folders) < depth:
        raise UserError(
            f"{str(root / name)!r} is above level {depth}, where split_depth {depth} expects {list(SPLITS)}"
        )
    if folders[depth - 1].lower() not in SPLITS:
        raise unknown(f"split folder in the path {str(root / name)!r}:", folders[depth - 1], SPLITS)
    return SPLITS[folders[depth - 1].lower()]


def require_train(root: Path, parts: set[int]) -> None:
    """Raise UserError if no folder is the training split."""
    if TRAIN not in parts:
        raise UserError(f"{str(root)!r} contains no folder 'train'; the models need a training split")
