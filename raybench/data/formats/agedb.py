"""AgeDB: faces of public figures with their age.

Layout: AgeDB/<n>_<Name>_<age>_<gender>.jpg, or images listed by a CSV file. Official splits: none; fold 0 of a CSV is
the test split. Labels: decade or year of age. Groups: people. License: non-commercial research, on request from the
authors. Reference: Moschoglou et al. 2017, AgeDB.
"""

import os
import re
import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from raybench.data.files.csv_columns import find_column, need_column, read_csv
from raybench.data.files.locate import locate, refuse_missing
from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, TEST, TRAIN, ImageData, dataset
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError

FOLDERS = ("AgeDB", "")
FILE_NAME = re.compile(r"(?P<number>\d+)_(?P<name>.+)_(?P<age>\d+)_(?P<gender>[a-z]+)\.(jpe?g|png)", re.IGNORECASE)
IMAGES = (".jpg", ".jpeg", ".png")
PATH = ("image_path", "image", "path", "file_name", "filename", "file")
AGE = ("age",)
IDENTITY = ("identity", "identity_id", "name", "person", "subject")
FOLD = ("fold",)
OLDEST = {"decade": 99, "age": 100}  # ages are clipped here, as in the released ten classes


@dataset(
    source="Moschoglou et al. 2017, AgeDB; ten decades as in Forget with Precision, Kraehenmann et al. 2023",
    needs="AgeDB/ with <n>_<Name>_<age>_<gender>.jpg, or a CSV file with the columns age, image_path, identity, fold",
)
def agedb(
    root: Path,
    *,
    download: bool = False,
    target: Literal["decade", "age"] = "decade",
    file: str | None = None,
    group: Literal["identity", "none"] = "identity",
) -> ImageData:
    """Read the files in the order of their numbers, or the rows of the CSV `file` in order.

    `target: decade` gives ten classes, [0, 10) to [90, 100); `age` gives 101, the ages 0 to 100, for regression by
    expectation (the mean age under the softmax: Rothe et al. 2015, DEX). Ages are clipped to the last class. In a CSV
    file, fold 0 is the test split; without folds, all samples are in the training split. Folds that share people, as
    those of the reference may, need `group: none`.
    """
    if download:
        raise UserError("agedb cannot be downloaded automatically: request it from its authors, then set root")
    for name, value, allowed in (("target", target, list(OLDEST)), ("group", group, ["identity", "none"])):
        if value not in allowed:
            raise UserError(f"agedb: {name} is {value!r} (allowed: {', '.join(allowed)})")
    part: np.ndarray | None = None
    people: list[str] | None
    if file is None:
        names, people, age_texts = from_names(root)
        paths, where = names, str(root)
    else:
        where = str(root / file)
        columns = read_csv(root / file)
        names = need_column(columns, PATH, path=root / file)
        paths = refuse_missing(names, locate(root, names, FOLDERS), dataset="agedb", where=f"named in {file}")
        age_texts = need_column(columns, AGE, path=root / file)
        people = find_column(columns, IDENTITY) or people_of(names)
        part = fold_parts(find_column(columns, FOLD), where)
    ages = np.array([age(text, name, where) for text, name in zip(age_texts, names)], dtype=np.int64)
    ages = np.minimum(ages, OLDEST[target])
    if people is None and group == "identity":
        warnings.warn(
            f"agedb: {where} has no identities, neither in a column {' or '.join(IDENTITY)} nor in the file names; "
            "roles may share people",
            stacklevel=2,
        )
    group_of = {person: i for i, person in enumerate(dict.fromkeys(people or []))}
    return ImageData(
        images=Encoded.of_files(root, paths),
        labels=ages // 10 if target == "decade" else ages,
        part=np.full(len(names), TRAIN, dtype=np.uint8) if part is None else part,
        class_names=tuple(f"{10 * d}-{10 * d + 9}" for d in range(10)) if target == "decade" else year_names(),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        groups=None
        if people is None or group == "none"
        else np.array([group_of[person] for person in people], dtype=np.int64),
    )


def year_names() -> tuple[str, ...]:
    """Return the class names of `target: age`."""
    return tuple(str(years) for years in range(OLDEST["age"] + 1))


def from_names(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the images of AgeDB/ or of root, by number, with the name and the age of each."""
    folder = FOLDERS[0] if (root / FOLDERS[0]).is_dir() else ""
    files = [name for name in os.listdir(root / folder) if name.lower().endswith(IMAGES)]
    matches = {name: FILE_NAME.fullmatch(name) for name in files}
    invalid = sorted(name for name, match in matches.items() if match is None)
    if invalid or not files:
        problem = f"{len(invalid)} image files are named differently: {invalid[0]}" if invalid else "it has no images"
        raise UserError(
            f"agedb: {str(root / folder)!r} should contain files named <n>_<Name>_<age>_<gender>.jpg; {problem} (or "
            "set `file`, a CSV with columns age, image_path, identity, fold)"
        )
    numbered = sorted((int(match["number"]), name, match) for name, match in matches.items() if match)
    names = [f"{folder}/{name}" if folder else name for _, name, _ in numbered]
    return names, [match["name"] for *_, match in numbered], [match["age"] for *_, match in numbered]


def people_of(names: list[str]) -> list[str] | None:
    """Return the person named by each file, or None unless every file names one."""
    matches = [FILE_NAME.fullmatch(name.replace("\\", "/").rpartition("/")[2]) for name in names]
    return [match["name"] for match in matches if match] if all(matches) else None


def fold_parts(folds: list[str] | None, where: str) -> np.ndarray | None:
    """Return the official split of every row, uint8: fold 0 is TEST, the others TRAIN; None without folds."""
    if folds is None:
        return None
    wrong = next((fold for fold in folds if not fold.isdecimal()), None)
    if wrong is not None:
        raise UserError(f"{where}: fold {wrong!r} is not a whole number")
    part = np.array([TEST if int(fold) == 0 else TRAIN for fold in folds], dtype=np.uint8)
    if len(np.unique(part)) < 2:
        raise UserError(f"{where}: fold 0 is the test split, but the folds are {', '.join(sorted(set(folds)))}")
    return part


def age(text: str, name: str, where: str) -> int:
    """Return whole years; a CSV may contain 35 as 35.0."""
    years = text.removesuffix(".0")
    if not years.isdecimal() or int(years) > 130:
        raise UserError(f"{where}: the age of {name} is {text!r}, not a number of years")
    return int(years)
