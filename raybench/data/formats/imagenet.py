"""ImageNet (ILSVRC 2012) as it is trained on everywhere: one folder per class, named by its WordNet id."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from raybench.data.files.folders import class_folders, images_of_classes, photographs, shown
from raybench.data.images import TEST, TRAIN, ImageData, dataset
from raybench.errors import UserError

NAME_FILES = ("LOC_synset_mapping.txt", "classnames.txt")


@dataset(
    source="Russakovsky et al. 2015, arXiv 1409.0575",
    needs="train/<wnid>/ and val/<wnid>/ (optionally LOC_synset_mapping.txt or classnames.txt with their names)",
)
def imagenet(root: Path, *, download: bool = False) -> ImageData:
    """Read train/ and val/ of any number of classes: class id = place of the wnid among the sorted ones.

    The official validation images are the test part. Raises UserError where train/ and val/ hold different classes,
    where a class folder holds no image, and where validation images are not in class folders yet.
    """
    wnids, others = class_folders(root / "train"), class_folders(root / "val")
    require_equal(root / "train", wnids, root / "val", others)
    parts = [(part, *images_of_classes(root, name, wnids)) for part, name in ((TRAIN, "train"), (TEST, "val"))]
    path = next((root / name for name in NAME_FILES if (root / name).is_file()), None)
    return photographs(root, parts, wnids if path is None else read_names(path, wnids))


def require_equal(folder: Path, classes: Sequence[str], other: Path, other_classes: Sequence[str]) -> None:
    """Raise UserError naming the classes that only one of two folders holds."""
    for here, there, only in (
        (folder, other, sorted(set(classes) - set(other_classes))),
        (other, folder, sorted(set(other_classes) - set(classes))),
    ):
        if only:
            raise UserError(
                f"{str(here)!r} holds {len(only)} classes that {there.name!r} does not: {shown(only)}; "
                "both should hold the same class folders"
            )


def read_names(path: Path, wnids: Sequence[str]) -> list[str]:
    """Read the name of every wnid: lines of wnid and name, a tab or spaces between them; other wnids may be there.

    ImageNet has two cranes: a name that several wnids share gets its wnid added.
    """
    known: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        wnid, _, name = line.strip().replace("\t", " ", 1).partition(" ")
        if line.strip() and not name.strip():
            raise UserError(f"{path}: line {number} is {line!r}, expected a wnid and a name")
        known[wnid] = name.strip()
    if unnamed := [wnid for wnid in wnids if wnid not in known]:
        raise UserError(f"{path}: has no name for {len(unnamed)} of {len(wnids)} classes: {shown(unnamed)}")
    uses = Counter(known[wnid] for wnid in wnids)
    return [known[wnid] if uses[known[wnid]] == 1 else f"{known[wnid]} ({wnid})" for wnid in wnids]
