"""MUFAC: Korean family faces of 128 x 128 pixels in eight age classes.

Layout: three CSV files and the image folders that they refer to. Official splits: training, test (called `val`: utility
is measured on it) and unseen (called `test`: the non-members of the attack). Labels: age classes. Groups: people,
(family, role), or families; roles repeat across families. The number in a file name is the age at collection, not the
age in the photo. License: AI Hub (Korea), under its terms. Reference: Choi and Na 2023, arXiv 2311.02240.
"""

import re
from pathlib import Path
from typing import Literal

import numpy as np

from raybench.data.files.csv_columns import find_column, need_column, read_csv
from raybench.data.files.locate import locate, refuse_missing
from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, TEST, TRAIN, UNSEEN, ImageData, dataset
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError

FOLDER = "custom_korean_family_dataset_resolution_128"  # the name of the archive
AGES = {"a": "0-6", "b": "7-12", "c": "13-19", "d": "20-30", "e": "31-45", "f": "46-55", "g": "56-66", "h": "67-80"}
# Rows are read in this order, so a training id is a row of the training CSV. Some copies use the later folders.
PARTS = (
    (TRAIN, "custom_train_dataset.csv", ("train_images", "train_images_part1", "train_images_part2", "part1", "part2")),
    (TEST, "custom_val_dataset.csv", ("val_images",)),
    (UNSEEN, "custom_test_dataset.csv", ("test_images",)),
)
CUT_FOLDERS = ("forget_images", "retain_images")
PATH = ("image_path", "image", "file_name", "filename", "path")
LABEL = ("age_class", "age_group", "age_label", "label")
FAMILY = ("family_id", "family")
PERSON = ("person_id", "person", "role", "identity")
ROLES = re.compile(r"GF|GM|[FM]|[SD]\d*")
FILE_NAME = re.compile(r"(?P<family>F\d+)_AGE_(?P<person>[A-Z]+\d*)_\d+_[a-h]\d*\.[a-z]+", re.IGNORECASE)


@dataset(
    source="Choi and Na 2023, arXiv 2311.02240; images of AI Hub (Korea), under its terms",
    needs=f"{', '.join(file for _, file, _ in PARTS)} and train_images/, val_images/, test_images/",
)
def mufac(root: Path, *, download: bool = False, group: Literal["person", "family"] = "person") -> ImageData:
    """Read the rows of the three CSV files in order; `group` selects whether a person or a family is an identity.

    Training rows come first, so ids 0 to 1499 are the released forget set. Columns may have other names (age_group,
    identity, ...); family and role are read from the file name if there is no column. The extension may be `.jpg` or
    `.JPG`.
    """
    if download:
        raise UserError(
            "mufac cannot be downloaded automatically: request it from AI Hub (dataset 528) or its authors, then set "
            "root"
        )
    if group not in ("person", "family"):
        raise UserError(f"mufac: group is {group!r} (allowed: person, family)")
    folder = root if (root / PARTS[0][1]).is_file() or not (root / FOLDER).is_dir() else root / FOLDER
    absent = [file for _, file, _ in PARTS if not (folder / file).is_file()]
    if absent:
        raise UserError(f"mufac: {str(folder)!r} lacks {', '.join(absent)}")
    paths: list[str] = []
    labels: list[int] = []
    owners: list[tuple[str, ...]] = []
    counts = []
    for part, file, folders in PARTS:
        columns = read_csv(folder / file)
        names = need_column(columns, PATH, path=folder / file)
        searched = (*folders, *(CUT_FOLDERS if part == TRAIN else ()), "")
        where = f"named in {file}, searched in {', '.join(f'{name}/' for name in searched if name)}"
        paths += refuse_missing(names, locate(folder, names, searched), dataset="mufac", where=where)
        labels += [age_class(text, folder / file) for text in need_column(columns, LABEL, path=folder / file)]
        owners += identities(columns, names, group, folder / file)
        counts.append(len(names))
    group_of = {owner: i for i, owner in enumerate(dict.fromkeys(owners))}
    return ImageData(
        images=Encoded.of_files(folder, paths),
        labels=np.array(labels, dtype=np.int64),
        part=np.repeat(np.array([part for part, _, _ in PARTS], dtype=np.uint8), counts),
        class_names=tuple(f"{letter} ({span})" for letter, span in AGES.items()),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        groups=np.array([group_of[owner] for owner in owners], dtype=np.int64),
    )


def age_class(text: str, path: Path) -> int:
    """Return the class of a letter a to h, or of an age span."""
    letters, spans = list(AGES), list(AGES.values())
    if text.lower() in letters:
        return letters.index(text.lower())
    if text in spans:
        return spans.index(text)
    raise UserError(f"{path}: unknown age class {text!r} (allowed: {', '.join(letters)} or {', '.join(spans)})")


def identities(columns: dict[str, list[str]], names: list[str], group: str, path: Path) -> list[tuple[str, ...]]:
    """Return the identity of every row: (family, role), (family,), or one column that alone identifies people.

    A role alone is not an identity, because every family has its F and M.
    """
    families, people = find_column(columns, FAMILY), find_column(columns, PERSON)
    matches = [FILE_NAME.fullmatch(name.replace("\\", "/").rpartition("/")[2]) for name in names]
    complete_matches = [match for match in matches if match is not None]
    if len(complete_matches) == len(names):
        families = families or [match["family"] for match in complete_matches]
        if people is None or "identity" in map(str.lower, columns):
            people = [match["person"] for match in complete_matches]
    if group == "family" and families is not None:
        return [(family,) for family in families]
    if group == "person" and people is not None:
        if families is not None:
            return list(zip(families, people))
        if not all(ROLES.fullmatch(person) for person in people):
            return [(person,) for person in people]
    raise UserError(
        f"{path}: has no identities: its columns are {', '.join(columns)}, and not every file is named "
        f"FAMILY_AGE_ROLE_AGE_CLASS.jpg; add {FAMILY[0]}" + (f" and {PERSON[0]}" if group == "person" else "")
    )
