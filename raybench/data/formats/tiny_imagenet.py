"""Tiny-ImageNet: 100,000 training images of 64 x 64 pixels in 200 classes.

Layout: train/<wnid>/images/ and val/ as distributed, or with validation images sorted into class folders, as many
scripts do. Official splits: training, test (the validation images). Groups: none. License: that of ImageNet. Reference:
Le and Yang 2015, Tiny ImageNet Visual Recognition Challenge (CS231N).
"""

from pathlib import Path

import numpy as np

from raybench.data.files.folders import class_folders, images_of_classes, photographs, require_files, scan
from raybench.data.formats.imagenet import read_names, require_equal
from raybench.data.images import TEST, TRAIN, ImageData, dataset
from raybench.data.listing import first_few
from raybench.data.reading.names import Names
from raybench.errors import UserError, unknown

ANNOTATIONS = "val_annotations.txt"


@dataset(
    source="Le and Yang 2015, Tiny ImageNet Visual Recognition Challenge (CS231N)",
    needs=f"train/<wnid>/images/ and val/images/ with val/{ANNOTATIONS}, or val/<wnid>/ (words.txt gives names)",
)
def tiny_imagenet(root: Path, *, download: bool = False) -> ImageData:
    """Read train/ and val/: class id = position of the wnid in sorted order, not its line in wnids.txt.

    val/ is the test split, sorted by class and file name in either layout, so that ids refer to the same images in
    both. The experiment draws the calibration set from it. The public dataset has no cal/; if it exists (cal/<wnid>/),
    its images are appended to the test split. Images of test/ have no public labels and are ignored. Raises UserError
    for classes that differ between splits or from wnids.txt, and for missing images.
    """
    wnids = class_folders(root / "train")
    if (root / "wnids.txt").is_file():
        listed = (root / "wnids.txt").read_text(encoding="utf-8-sig").split()
        require_equal(root / "train", wnids, root / "wnids.txt", listed)
    parts = [(TRAIN, *images_of_classes(root, "train", wnids))]
    val = class_folders(root / "val")
    if "images" in val and scan(root / "val" / "images")[1]:
        annotated, labels = read_annotations(root, wnids)
        parts.append((TEST, Names.of(annotated), labels))
    else:  # scripts that sort the images may leave an empty folder behind
        require_equal(root / "train", wnids, root / "val", [name for name in val if name != "images"])
        parts.append((TEST, *images_of_classes(root, "val", wnids)))
    if (root / "cal").exists():
        require_equal(root / "train", wnids, root / "cal", class_folders(root / "cal"))
        parts.append((TEST, *images_of_classes(root, "cal", wnids)))
    words = root / "words.txt"
    return photographs(root, parts, read_names(words, wnids) if words.is_file() else wnids)


def read_annotations(root: Path, wnids: list[str]) -> tuple[list[str], np.ndarray]:
    """Read file name and wnid of every validation image (bounding boxes are ignored)."""
    path = root / "val" / ANNOTATIONS
    if not path.is_file():
        raise UserError(f"tiny_imagenet: {str(path)!r} is missing; it names the classes of the files in val/images")
    id_of = {wnid: i for i, wnid in enumerate(wnids)}
    labeled_names: list[tuple[int, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        fields = line.split("\t")
        if not line.strip():
            continue
        if len(fields) < 2:
            raise UserError(f"{path}: line {number} is {line!r}, expected a file name, a tab and a wnid")
        if fields[1].strip() not in id_of:
            raise unknown(f"class in {path}, line {number}:", fields[1].strip(), id_of, hint="; train/ lacks it")
        labeled_names.append((id_of[fields[1].strip()], f"val/images/{fields[0].strip()}"))
    labeled_names.sort()
    names = [name for _, name in labeled_names]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: lists {len(names) - len(set(names))} images more than once")
    if unlisted := sorted(set(scan(root / "val" / "images")[1]) - {name.rpartition("/")[2] for name in names}):
        raise UserError(f"{path}: does not list {len(unlisted)} images of val/images: {first_few(unlisted)}")
    require_files(root, names, listed_in=str(path))
    return names, np.array([label for label, _ in labeled_names], dtype=np.int64)
