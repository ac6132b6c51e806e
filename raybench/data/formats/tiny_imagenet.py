"""Tiny-ImageNet as it is distributed, or with its validation images sorted into class folders as many scripts do."""

from pathlib import Path

import numpy as np

from raybench.data.files.folders import class_folders, images_of_classes, photographs, require_files, scan, shown
from raybench.data.formats.imagenet import read_names, require_equal
from raybench.data.images import TEST, TRAIN, ImageData, dataset
from raybench.errors import UserError, unknown

ANNOTATIONS = "val_annotations.txt"


@dataset(
    source="Le and Yang 2015, Tiny ImageNet Visual Recognition Challenge (CS231N)",
    needs=f"train/<wnid>/images/ and val/images/ with val/{ANNOTATIONS}, or val/<wnid>/ (words.txt gives names)",
)
def tiny_imagenet(root: Path, *, download: bool = False) -> ImageData:
    """Read train/ and val/: class id = place of the wnid among the sorted ones, not its line in wnids.txt.

    val/ is the test part, ordered by class and file name in either form, so that ids mean the same images in both. The
    experiment's split draws the calibration set from it. The public set has no cal/; where somebody made one
    (cal/<wnid>/), its images are appended to the test part. Images of test/ have no public labels and are left out.
    Raises UserError for classes that differ between the parts or from wnids.txt, and for missing images.
    """
    wnids = class_folders(root / "train")
    if (root / "wnids.txt").is_file():
        listed = (root / "wnids.txt").read_text(encoding="utf-8-sig").split()
        require_equal(root / "train", wnids, root / "wnids.txt", listed)
    parts = [(TRAIN, *images_of_classes(root, "train", wnids))]
    val = class_folders(root / "val")
    if "images" in val and scan(root / "val" / "images")[1]:
        parts.append((TEST, *read_annotations(root, wnids)))
    else:  # scripts that sort the images may leave their empty folder behind
        require_equal(root / "train", wnids, root / "val", [name for name in val if name != "images"])
        parts.append((TEST, *images_of_classes(root, "val", wnids)))
    if (root / "cal").exists():
        require_equal(root / "train", wnids, root / "cal", class_folders(root / "cal"))
        parts.append((TEST, *images_of_classes(root, "cal", wnids)))
    words = root / "words.txt"
    return photographs(root, parts, read_names(words, wnids) if words.is_file() else wnids)


def read_annotations(root: Path, wnids: list[str]) -> tuple[list[str], np.ndarray]:
    """Read file name and wnid of every validation image (the bounding boxes are not needed)."""
    path = root / "val" / ANNOTATIONS
    if not path.is_file():
        raise UserError(f"tiny_imagenet: {str(path)!r} is missing; it names the classes of the files in val/images")
    classes = {wnid: i for i, wnid in enumerate(wnids)}
    found: list[tuple[int, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        fields = line.split("\t")
        if not line.strip():
            continue
        if len(fields) < 2:
            raise UserError(f"{path}: line {number} is {line!r}, expected a file name, a tab and a wnid")
        if fields[1].strip() not in classes:
            raise unknown(f"class in {path}, line {number}:", fields[1].strip(), classes, hint="; train/ lacks it")
        found.append((classes[fields[1].strip()], f"val/images/{fields[0].strip()}"))
    found.sort()
    names = [name for _, name in found]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: lists {len(names) - len(set(names))} images twice")
    if unlisted := sorted(set(scan(root / "val" / "images")[1]) - {name.rpartition("/")[2] for name in names}):
        raise UserError(f"{path}: does not list {len(unlisted)} images of val/images: {shown(unlisted)}")
    require_files(root, names, listed_in=str(path))
    return names, np.array([label for label, _ in found], dtype=np.int64)
