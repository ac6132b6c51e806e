"""Content hashes of the images to forget, and their comparison with images that someone holds.

Row numbers identify nothing once a manifest is sorted anew, and file names may be names of people; hashes are neither.
An image has up to two: of the bytes of its file, and of the pixels that the run stored.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from raybench import data, registry
from raybench.data.images import DatasetSpec, ImageData
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError
from raybench.evidence.hashes import hash_bytes, hash_file, hash_pixels

FILE = "forget/images.csv"
COLUMNS = ("row", "file_sha256", "pixels_sha256")
LARGEST_PICTURE = 200_000_000  # pixels that are decoded to compare a picture


@dataclass(frozen=True)
class ForgottenImages:
    """One row per image to forget: its row number, and its hashes (empty where there is none)."""

    rows: Sequence[tuple[int, str, str]]
    source: str  # what was hashed, in words

    def to_csv(self) -> str:
        """Return the file `forget/images.csv`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(self.rows)
        return text.getvalue()

    @property
    def hashes(self) -> list[str]:
        """Return one hash per image: of its file where there is one, else of its pixels."""
        return [file or pixels for _, file, pixels in self.rows]


def read_csv(path: Path) -> ForgottenImages:
    """Read `forget/images.csv`; raise ValueError if it is damaged."""
    reader = csv.reader(path.read_text(encoding="utf-8").splitlines())
    if tuple(next(reader, ())) != COLUMNS:
        raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
    return ForgottenImages([(int(row), file, pixels) for row, file, pixels in reader], "")


def forgotten_images(stored: ImageData, ids: Sequence[int], section: Mapping[str, Any]) -> ForgottenImages:
    """Hash the images to forget: the files they came from, if they are there, and the pixels that the run stored.

    `stored`: the images of the run; `section`: `data` of the experiment, which says where the files are.
    """
    encoded = stored.images if isinstance(stored.images, Encoded) else _files(section, stored.num_samples)
    pixels = None if isinstance(stored.images, Encoded) else stored.images
    rows = [
        (
            int(i),
            hash_bytes(encoded.read(i)) if encoded is not None else "",
            hash_pixels(pixels[i]) if pixels is not None else "",
        )
        for i in ids
    ]
    if encoded is None:
        source = "the pixels that the run stored; the data set has no file per image, or its files were not there"
    elif pixels is None:
        source = "the bytes of each image file; the run read the files directly and stored no pixels"
    else:
        source = "the bytes of each image file, and the pixels that the run decoded from it and stored"
    return ForgottenImages(rows, source)


def _files(section: Mapping[str, Any], num_samples: int) -> Encoded | None:
    """Return the files of a data set that the run decoded into memory; None if it has none, or they are gone."""
    try:
        images = _load(section, section.get("root"))
        if isinstance(images.images, Encoded) and len(images.images) == num_samples:
            images.images.read(0)
            return images.images
    except (UserError, OSError):
        return None
    return None


def _load(section: Mapping[str, Any], root: str | Path | None) -> ImageData:
    path = Path(root).expanduser() if root is not None else None
    return data.load(section["dataset"], root=path, download=False, **section.get("options", {}))


def held_hashes(section: Mapping[str, Any], folder: Path, rows: Sequence[int]) -> Iterator[set[str]]:
    """Yield sets of hashes of the images that someone holds, the likely ones first.

    First the rows of the data set in `folder`, if it has the format of the experiment; then all of its rows; else every
    file in the folder, by its bytes and by its decoded pixels. Code of the experiment's author is not imported: a
    format that is not raybench's own counts as files.
    """
    try:
        name = str(section["dataset"])
        function = None if "." in name else registry.find("dataset", name, data.FORMATS, DatasetSpec)
        has_files = function is not None and registry.spec_of(function, DatasetSpec).needs
        images = _load(section, folder) if has_files else None
    except (UserError, OSError, KeyError, TypeError):
        images = None
    if images is None:
        yield {value for file in sorted(folder.rglob("*")) if file.is_file() for value in _hashes_of(file)}
        return
    inside = [row for row in rows if row < images.num_samples]
    yield {_hash_row(images, row) for row in inside}
    yield {_hash_row(images, row) for row in range(images.num_samples)}


def _hash_row(images: ImageData, row: int) -> str:
    content = images.images
    return hash_bytes(content.read(row)) if isinstance(content, Encoded) else hash_pixels(content[row])


def _hashes_of(file: Path) -> Iterator[str]:
    """Yield the hash of a file, and that of its pixels if it is a picture."""
    yield hash_file(file)
    try:
        with Image.open(file) as picture:
            if picture.width * picture.height <= LARGEST_PICTURE:
                pixels = np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"), dtype=np.uint8)
                yield hash_pixels(pixels[..., None] if pixels.ndim == 2 else pixels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return
