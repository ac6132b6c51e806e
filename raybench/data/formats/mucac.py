"""MUCAC: 30,000 CelebA-HQ portraits with identity and 40 binary attributes.

Layout: an identity file, an attribute file and an image folder; rows are in the order of the image numbers. Official
splits: training, test, unseen, cut by identity number (`bounds`). Identities are numbered by first appearance, so small
numbers have many images and the splits differ in images per person and in gender. Groups: identities. License:
non-commercial research. References: Choi and Na 2023, arXiv 2311.02240; CelebAMask-HQ, Lee et al. 2020, arXiv
1907.11922.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from raybench.data.files.locate import locate, refuse_missing
from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, LEFT_OUT, TEST, TRAIN, UNSEEN, ImageData, dataset
from raybench.data.listing import first_few
from raybench.data.reading.encoded import WHOLE, Encoded
from raybench.errors import UserError, unknown

IDENTITIES = ("CelebA-HQ-identity.txt", "identity.txt")
ATTRIBUTES = ("CelebA-HQ-attribute.txt", "CelebAMask-HQ-attribute-anno.txt", "attribute.txt")
TEXTS_IN = ("", "CelebAMask-HQ")
IMAGES_IN = ("CelebAMask-HQ/CelebA-HQ-img", "CelebA-HQ-img", "")
TASKS = {  # task: (attribute, names of the classes 0 and 1)
    "gender": ("Male", ("female", "male")),
    "smiling": ("Smiling", ("not smiling", "smiling")),
    "young": ("Young", ("old", "young")),
}
MULTI_LABEL = "multi_label"


@dataset(
    source="Choi and Na 2023, arXiv 2311.02240; CelebAMask-HQ, Lee et al. 2020, arXiv 1907.11922, under its terms",
    needs=f"{IDENTITIES[0]}, {ATTRIBUTES[0]} (or {ATTRIBUTES[1]}) and {IMAGES_IN[0]}/",
)
def mucac(
    root: Path,
    *,
    download: bool = False,
    task: str = MULTI_LABEL,
    bounds: Sequence[int] | None = (190, 1250, 4855),
    on_missing: Literal["refuse", "list"] = "refuse",
) -> ImageData:
    """Read the images; a label is 1 if the image has the attribute.

    `task` is multi_label (gender, smiling, young in this order), one of these three, or the name of any of the 40
    attributes. `bounds` cut by identity: identities below the first are the test split, those from the last on the
    unseen split, all others the training split, where the second bounds the forget set (forget: id_ranges); null draws
    the roles by identity instead. `on_missing: list` warns about missing image files and leaves them out.
    """
    if download:
        raise UserError("mucac cannot be downloaded automatically: get CelebAMask-HQ from its authors, then set root")
    if on_missing not in ("refuse", "list"):
        raise UserError(f"mucac: on_missing is {on_missing!r} (allowed: refuse, list)")
    identity_of = read_identities(find_text(root, IDENTITIES))
    path = find_text(root, ATTRIBUTES)
    attributes, values = read_attributes(path)
    if differing := set(identity_of) ^ set(values):
        raise UserError(
            f"mucac: the identity and the attribute file list different images: {min(differing)!r} is in "
            "only one of them"
        )
    names = sorted(values, key=lambda name: image_number(name, path))
    identities = np.array([identity_of[name] for name in names], dtype=np.int64)
    part = np.full(len(names), TRAIN, dtype=np.uint8) if bounds is None else parts(identities, bounds)

    def column(attribute: str) -> np.ndarray:
        if attribute not in attributes:
            raise unknown(f"attribute of {path}:", attribute, attributes)
        position = attributes.index(attribute)
        return binary([values[name][position] for name in names], attribute, names, path)

    if task == MULTI_LABEL:
        labels = np.stack([column(attribute) for attribute, _ in TASKS.values()], axis=1).astype(np.uint8)
        class_names = tuple(TASKS)
    elif task in TASKS or task in attributes:
        attribute, class_names = TASKS.get(task, (task, (f"not {task}", task)))
        labels = column(attribute)
    else:
        raise unknown("task of mucac", task, [MULTI_LABEL, *TASKS, *attributes])
    images, missing = find_images(root, names, on_missing)
    part[missing] = LEFT_OUT
    return ImageData(images, labels, part, class_names, IMAGENET_MEAN, IMAGENET_STD, identities)


def parts(identities: np.ndarray, bounds: Sequence[int]) -> np.ndarray:
    """Return the official split of every sample, uint8: TEST below the first bound, UNSEEN from the last on."""
    are_integers = [isinstance(bound, int | np.integer) and not isinstance(bound, bool) for bound in bounds]
    if len(bounds) != 3 or not all(are_integers) or not 0 < bounds[0] < bounds[1] < bounds[2]:
        raise UserError(
            f"mucac: bounds are {bounds!r}; they should be three increasing identities, such as 190, 1250, 4855"
        )
    test, unseen = identities < bounds[0], identities >= bounds[2]
    part = np.where(test, TEST, np.where(unseen, UNSEEN, TRAIN)).astype(np.uint8)
    for selected, name in ((test, "test"), (unseen, "unseen"), (~test & ~unseen, "training")):
        if not selected.any():
            raise UserError(
                f"mucac: bounds {list(bounds)} leave no {name} samples: the identities run from {identities.min()} to "
                f"{identities.max()}; set other bounds, or null"
            )
    return part


def find_text(root: Path, names: Sequence[str]) -> Path:
    """Return the first of the named files in root or in CelebAMask-HQ/."""
    path = next(
        (root / folder / name for folder in TEXTS_IN for name in names if (root / folder / name).is_file()), None
    )
    if path is None:
        raise UserError(f"mucac: {str(root)!r} contains no {' or '.join(names)}, and neither does {TEXTS_IN[1]}/")
    return path


def read_identities(path: Path) -> dict[str, int]:
    """Read lines `file.jpg id` into {file: identity}."""
    identity_of: dict[str, int] = {}
    for line, words in numbered_words(path):
        if len(words) != 2 or not words[1].isdecimal():
            raise UserError(f"{path}, line {line}: {' '.join(words)!r} is not a file name and an identity")
        if words[0] in identity_of:
            raise UserError(f"{path}, line {line}: {words[0]} is listed twice")
        identity_of[words[0]] = int(words[1])
    return identity_of


def read_attributes(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Read the number of images, the attribute names, and {file: its attribute values as text}."""
    lines = [words for _, words in numbered_words(path)]
    if len(lines) < 3 or len(lines[0]) != 1 or not lines[0][0].isdecimal():
        raise UserError(f"{path}: expected the number of images, a line of attribute names, then one line per image")
    count, names, values = int(lines[0][0]), lines[1], {words[0]: words[1:] for words in lines[2:]}
    if len(values) != count or len(lines) - 2 != count:
        raise UserError(f"{path}: its first line gives {count} images, but {len(lines) - 2} lines list {len(values)}")
    short = next((name for name, row in values.items() if len(row) != len(names)), None)
    if short is not None:
        raise UserError(f"{path}: {short} has {len(values[short])} values for {len(names)} attributes")
    return names, values


def numbered_words(path: Path) -> list[tuple[int, list[str]]]:
    """Return (line number, words) of every line that is not empty."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}") from error
    return [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]


def binary(texts: list[str], attribute: str, names: list[str], path: Path) -> np.ndarray:
    """Return one attribute as int64 0 and 1; files contain -1 and 1, and 0 where an attribute is not labeled."""
    invalid = [i for i, value in enumerate(texts) if value not in ("1", "-1")]
    if invalid:
        raise UserError(
            f"{path}: attribute {attribute} of {names[invalid[0]]} is {texts[invalid[0]]}, not -1 or 1 (so are "
            f"{len(invalid)} of {len(names)}; 0 means not labeled); choose another `task`"
        )
    return np.array([value == "1" for value in texts], dtype=np.int64)


def image_number(name: str, path: Path) -> int:
    """Return the number that names an image file."""
    stem = name.rpartition("/")[2].partition(".")[0]
    if not stem.isdecimal():
        raise UserError(f"{path}: {name!r} is not named by a number, such as 0.jpg")
    return int(stem)


def find_images(root: Path, names: list[str], on_missing: str) -> tuple[Encoded, np.ndarray]:
    """Return the images, and the positions of missing files."""
    paths = locate(root, names, IMAGES_IN)
    missing = np.array([i for i, path in enumerate(paths) if path is None], dtype=np.int64)
    if on_missing == "refuse" or len(missing) in (0, len(names)):
        present_paths = refuse_missing(names, paths, dataset="mucac", where=f"{IMAGES_IN[0]}/, {IMAGES_IN[1]}/ or root")
        return Encoded.of_files(root, present_paths), missing
    listed = first_few(names[i] for i in missing)
    warnings.warn(f"mucac: {len(missing)} of {len(names)} image files are missing and left out: {listed}", stacklevel=3)
    # A missing image becomes zero bytes of an existing file, so that listing sizes and hashing bytes still work.
    images = Encoded.of_files(root, [path or name for name, path in zip(names, paths)])
    present = next(i for i, path in enumerate(paths) if path is not None)
    file, length = np.array(images.file), np.full(len(names), WHOLE, dtype=np.int64)
    file[missing], length[missing] = present, 0
    return Encoded(images.root, images.files, file, images.offset, length), missing
