"""ImageNet (ILSVRC 2012): 1.28 million training photographs in 1,000 classes, or any subset of the classes.

Layout: train/<wnid>/ and val/<wnid>/, one folder per WordNet id. Official splits: training, test (the official
validation images). Groups: none. License: non-commercial research, on registration at image-net.org. Reference:
Russakovsky et al. 2015, arXiv 1409.0575.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from raybench.data.files.folders import class_folders, images_of_classes, photographs
from raybench.data.images import TEST, TRAIN, ImageData, dataset
from raybench.data.listing import first_few
from raybench.errors import UserError

NAME_FILES = ("LOC_synset_mapping.txt", "classnames.txt")


@dataset(
    source="Russakovsky et al. 2015, arXiv 1409.0575",
    needs="train/<wnid>/ and val/<wnid>/ (optionally LOC_synset_mapping.txt or classnames.txt with their names)",
)
def imagenet(root: Path, *, download: bool = False) -> ImageData:
    """Read train/ and val/: class id = position of the wnid in sorted order.

    Raises UserError if train/ and val/ contain different classes, if a class folder contains no image, and if
    validation images are not sorted into class folders.
    """
    wnids, val_wnids = class_folders(root / "train"), class_folders(root / "val")
    require_equal(root / "train", wnids, root / "val", val_wnids)
    parts = [(part, *images_of_classes(root, name, wnids)) for part, name in ((TRAIN, "train"), (TEST, "val"))]
    path = next((root / name for name in NAME_FILES if (root / name).is_file()), None)
    return photographs(root, parts, wnids if path is None else read_names(path, wnids))


def require_equal(folder: Path, classes: Sequence[str], other: Path, other_classes: Sequence[str]) -> None:
    """Raise UserError that lists the classes that only one of two folders contains."""
    for complete, incomplete, only in (
        (folder, other, sorted(set(classes) - set(other_classes))),
        (other, folder, sorted(set(other_classes) - set(classes))),
    ):
        if only:
            raise UserError(
                f"{str(complete)!r} contains {len(only)} classes that {incomplete.name!r} does not: {first_few(only)}; "
                "both should contain the same class folders"
            )


def read_names(path: Path, wnids: Sequence[str]) -> list[str]:
    """Read the name of every wnid from lines of wnid and name, separated by a tab or spaces; other wnids are ignored.

    ImageNet has two classes called crane: a name that several wnids share is extended by its wnid.
    """
    name_of: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        wnid, _, name = line.strip().replace("\t", " ", 1).partition(" ")
        if line.strip() and not name.strip():
            raise UserError(f"{path}: line {number} is {line!r}, expected a wnid and a name")
        name_of[wnid] = name.strip()
    if unnamed := [wnid for wnid in wnids if wnid not in name_of]:
        raise UserError(f"{path}: no name for {len(unnamed)} of {len(wnids)} classes: {first_few(unnamed)}")
    uses = Counter(name_of[wnid] for wnid in wnids)
    return [name_of[wnid] if uses[name_of[wnid]] == 1 else f"{name_of[wnid]} ({wnid})" for wnid in wnids]
