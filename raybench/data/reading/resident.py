"""A decoded dataset on a node: plain .npy files that every process maps read-only into memory.

Pixels that are stored already, in a folder beside it, are referred to: they are the same whatever labels, official
splits or normalization a dataset has. For a streamed dataset, the files hold where the images are instead of pixels. A
folder that exists is complete: it is written under a temporary name and renamed last.
"""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from raybench.data.images import ImageData, pixels_hash
from raybench.data.reading.atomic_folder import write_folder
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.names import Names
from raybench.errors import UserError

FORMAT = 1
PIXELS = "pixels"  # names the folder with the pixels, in meta.json and as a prefix
ARRAYS = ("images", "labels", "part", "groups")
ENCODED_ARRAYS = ("file", "offset", "length")  # the arrays of an Encoded, instead of images, beside its file names


class StoredPixels(np.memmap):
    """The pixels of a folder that `save_pixels` wrote, mapped into memory; slices and copies are plain arrays."""

    folder: Path
    content_hash: str


def save_pixels(images: np.ndarray, parent: Path, *, finish: Callable[[Path], None] = lambda folder: None) -> Path:
    """Write `images`, uint8 (N, H, W, C), to a folder in `parent` that is named after their content; return it."""
    content = pixels_hash(images)
    folder = parent / f"{PIXELS}-{content}"

    def write_all(partial: Path) -> None:
        np.save(partial / "images.npy", images, allow_pickle=False)
        (partial / "meta.json").write_text(json.dumps({"format": FORMAT, "content": content}))
        finish(partial)

    if not folder.is_dir():
        write_folder(folder, write_all, content="the pixels", is_complete=folder.is_dir)
    return folder


def open_pixels(folder: Path) -> StoredPixels:
    """Map the pixels of `save_pixels` into memory, read-only."""
    pixels = read_array(folder / "images.npy").view(StoredPixels)
    pixels.folder, pixels.content_hash = folder, folder.name.removeprefix(f"{PIXELS}-")
    return pixels


def pixels_folder(folder: Path) -> Path | None:
    """Return the folder with the pixels of a dataset that refers to one."""
    name = read_meta(folder).get(PIXELS)
    if name is None:
        return None
    if not isinstance(name, str) or not re.fullmatch(f"{PIXELS}-[0-9a-f]+", name):
        raise UserError(f"{folder / 'meta.json'}: {PIXELS} is {name!r}, which raybench does not write")
    return folder.parent / name


def save(data: ImageData, folder: str | Path, *, finish: Callable[[Path], None] = lambda folder: None) -> None:
    """Write `data` to `folder`, which appears complete or not at all; do nothing if it already contains the same data.

    Several processes may save the same data at once. `finish` is called with the folder before it appears. Raises
    UserError if `folder` contains anything else or cannot be written.
    """
    folder = Path(folder)
    fingerprint = data.fingerprint()
    if contains(folder, fingerprint):
        return

    def write_all(partial: Path) -> None:
        write(data, partial, fingerprint)
        finish(partial)

    write_folder(
        folder,
        write_all,
        content="the dataset",
        is_complete=lambda: contains(folder, fingerprint),
    )


def open_resident(folder: str | Path) -> ImageData:
    """Map the dataset of `save` into memory; all processes share its pages, which are read on first use."""
    folder = Path(folder)
    meta = read_meta(folder)
    pixels = pixels_folder(folder)
    arrays: dict[str, Any] = {
        name: open_pixels(pixels) if pixels and name == "images" else read_array(folder / f"{name}.npy")
        for name in meta["shapes"]
    }
    for name, array in arrays.items():
        if list(array.shape) != meta["shapes"][name]:
            raise UserError(f"{folder / f'{name}.npy'}: shape {array.shape}, but meta.json says {meta['shapes'][name]}")
    if (root := meta.get("root")) is not None:
        files = Names(arrays.pop("files"))
        arrays["images"] = Encoded(root, files, *(arrays.pop(name) for name in ENCODED_ARRAYS))
    return ImageData(class_names=tuple(meta["class_names"]), mean=tuple(meta["mean"]), std=tuple(meta["std"]), **arrays)


def write(data: ImageData, folder: Path, fingerprint: str) -> None:
    """Write the arrays, except pixels that are stored beside the dataset, and then their metadata."""
    arrays = {name: getattr(data, name) for name in ARRAYS if getattr(data, name) is not None}
    meta = {field.name: getattr(data, field.name) for field in fields(data) if field.name not in ARRAYS}
    if isinstance(data.images, Encoded):
        encoded = arrays.pop("images")
        arrays |= {"files": encoded.files.text, **{name: getattr(encoded, name) for name in ENCODED_ARRAYS}}
        meta["root"] = encoded.root
    if isinstance(data.images, StoredPixels) and data.images.folder.parent == folder.parent:
        meta[PIXELS] = data.images.folder.name
    for name, array in arrays.items():
        if not (name == "images" and PIXELS in meta):
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    (folder / "meta.json").write_text(
        json.dumps({"format": FORMAT, "fingerprint": fingerprint, "shapes": shapes, **meta})
    )


def contains(folder: Path, fingerprint: str) -> bool:
    """Return whether `folder` contains the data of this fingerprint; raise UserError if it contains other data."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    stored = read_meta(folder)["fingerprint"]
    if stored != fingerprint:
        raise UserError(
            f"{str(folder)!r} contains another dataset ({stored}, not {fingerprint}); choose another folder"
        )
    return True


def read_meta(folder: Path) -> dict[str, Any]:
    """Read meta.json; raise UserError for a folder that raybench did not write."""
    path = folder / "meta.json"
    try:
        meta: dict[str, Any] = json.loads(path.read_text())
        valid = meta["format"] == FORMAT and {"fingerprint", "shapes", "class_names", "mean", "std"} <= set(meta)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{str(folder)!r} is not a resident dataset of raybench: {error}") from error
    if not valid:
        raise UserError(f"{path}: not format {FORMAT} of a resident dataset; delete the folder and save it again")
    return meta


def read_array(path: Path) -> np.ndarray:
    """Map one .npy file read-only."""
    try:
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: missing or truncated ({error}); delete the folder and save it again") from error
