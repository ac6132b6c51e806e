"""Any set of images with one folder per class, cut into parts by folders or not at all."""

from pathlib import Path, PurePosixPath

import numpy as np

from raybench.data.files.folders import class_folders, images_of_classes, photographs, scan, shown
from raybench.data.images import PARTS, TEST, TRAIN, UNSEEN, ImageData, dataset
from raybench.errors import UserError, unknown

SPLITS = {"train": TRAIN, "val": TEST, "valid": TEST, "validation": TEST, "test": TEST, "unseen": UNSEEN}


@dataset(
    source="your own images",
    needs="one folder per class, images at any depth below it; above it optionally train/, val/, test/, unseen/",
)
def image_folder(root: Path, *, download: bool = False, split_depth: int | None = None) -> ImageData:
    """Read class folders: class id = place among the sorted names of the training part.

    `split_depth` says at which level below root the folders train, val, test or unseen stand: 0 nowhere (all images are
    one part), 1 above the classes (train/dog/...), 2 right below them (dog/train/...), 3 one further down. By default
    it is 1 where root holds nothing but folders of these names, else 0. val, valid, validation and test are the test
    part: the experiment's split draws its validation set from the training part. A part may lack classes that
    train has, so ids never shift; raises UserError for a class that train lacks, an empty class folder, and images
    that lie beside class folders.
    """
    if split_depth is not None and (isinstance(split_depth, bool) or split_depth not in range(10)):
        raise UserError(f"split_depth is {split_depth!r}; it should be 0, 1, 2 or a little more, or null")
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
    places = {p: np.flatnonzero(part == p) for p in PARTS}
    require_train(root, set(part.tolist()))
    return photographs(root, [(p, [names[i] for i in at], labels[at]) for p, at in places.items() if len(at)], classes)


def of_split_folders(root: Path, splits: list[str]) -> ImageData:
    """Read root/<split>/<class>/..., the training part first, then the others in the order of their names."""
    for split in splits:
        if split.lower() not in SPLITS:
            raise unknown(f"split folder in {str(root)!r}:", split, SPLITS, hint="; split_depth 0 if it is a class")
    require_train(root, {SPLITS[split.lower()] for split in splits})
    splits = sorted(splits, key=lambda split: SPLITS[split.lower()] != TRAIN)
    classes = class_folders(root / splits[0])
    place = {name: i for i, name in enumerate(classes)}
    parts = []
    for split in splits:
        found = class_folders(root / split)
        if foreign := [name for name in found if name not in place]:
            raise UserError(f"{str(root / split)!r} holds classes that {splits[0]!r} does not: {shown(foreign)}")
        names, labels = images_of_classes(root, split, found)
        parts.append((SPLITS[split.lower()], names, np.array([place[name] for name in found])[labels]))
    return photographs(root, parts, classes)


def part_of(root: Path, name: str, depth: int) -> int:
    """Return the part that the folder at level `depth` of an image's path says."""
    folders = PurePosixPath(name).parts[:-1]
    if len(folders) < depth:
        raise UserError(
            f"{str(root / name)!r} lies above level {depth}, where split_depth {depth} expects {list(SPLITS)}"
        )
    if folders[depth - 1].lower() not in SPLITS:
        raise unknown(f"split folder in the path {str(root / name)!r}:", folders[depth - 1], SPLITS)
    return SPLITS[folders[depth - 1].lower()]


def require_train(root: Path, parts: set[int]) -> None:
    if TRAIN not in parts:
        raise UserError(f"{str(root)!r} holds no folder 'train': the models need a training part")
