"""One copy of a dataset per node: plain .npy files that every process maps read-only into memory.

Of a dataset that is streamed they hold where the images are, not the pixels.

A folder that exists is complete: files are written into a folder of another name, which is renamed into place last.
"""

import json
import os
import shutil
import time
import uuid
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from raybench.data.images import ImageData
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError

FORMAT = 1
ARRAYS = ("images", "labels", "part", "groups")
WHERE = ("files", "file", "offset", "length")  # instead of images: the arrays of an Encoded
STALE_SECONDS = 3600  # an unfinished folder that nobody wrote to for this long belongs to a writer that was killed


def save(data: ImageData, folder: str | Path) -> None:
    """Write `data` to `folder`, which appears complete or not at all; does nothing where it holds the same data.

    Several processes may save the same data at once. Raises UserError where `folder` holds anything else, and where it
    cannot be written.
    """
    folder = Path(folder)
    fingerprint = data.fingerprint()
    if holds(folder, fingerprint):
        return
    partial = folder.with_name(f".{folder.name}.partial-{uuid.uuid4().hex}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(folder)
        partial.mkdir()
        write(data, partial, fingerprint)
        try:
            os.rename(partial, folder)
        except OSError:
            if not holds(folder, fingerprint):  # else another process finished the same data first
                raise
    except OSError as error:
        raise UserError(f"cannot save the dataset to {str(folder)!r}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_resident(folder: str | Path) -> ImageData:
    """Map the dataset that `save` wrote: pages are shared by all processes and read on first use."""
    folder = Path(folder)
    meta = read_meta(folder)
    arrays: dict[str, Any] = {name: read_array(folder / f"{name}.npy") for name in meta["shapes"]}
    for name, array in arrays.items():
        if list(array.shape) != meta["shapes"][name]:
            raise UserError(f"{folder / f'{name}.npy'}: shape {array.shape}, but meta.json says {meta['shapes'][name]}")
    if (root := meta.get("root")) is not None:
        arrays["images"] = Encoded(root, **{name: arrays.pop(name) for name in WHERE})
    return ImageData(class_names=tuple(meta["class_names"]), mean=tuple(meta["mean"]), std=tuple(meta["std"]), **arrays)


def write(data: ImageData, folder: Path, fingerprint: str) -> None:
    """Write the arrays and then the description of them."""
    arrays = {name: getattr(data, name) for name in ARRAYS if getattr(data, name) is not None}
    meta = {field.name: getattr(data, field.name) for field in fields(data) if field.name not in ARRAYS}
    if isinstance(data.images, Encoded):
        encoded = arrays.pop("images")
        arrays |= {name: getattr(encoded, name) for name in WHERE}
        meta["root"] = encoded.root
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    (folder / "meta.json").write_text(
        json.dumps({"format": FORMAT, "fingerprint": fingerprint, "shapes": shapes, **meta})
    )


def holds(folder: Path, fingerprint: str) -> bool:
    """Say whether `folder` holds the data of this fingerprint; raises UserError where it holds other data."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    found = read_meta(folder)["fingerprint"]
    if found != fingerprint:
        raise UserError(f"{str(folder)!r} holds another dataset ({found}, not {fingerprint}); choose another folder")
    return True


def read_meta(folder: Path) -> dict:
    """Read meta.json, refusing a folder that raybench did not write."""
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text())
        known = meta["format"] == FORMAT and {"fingerprint", "shapes", "class_names", "mean", "std"} <= set(meta)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{str(folder)!r} is not a resident dataset of raybench: {error}") from error
    if not known:
        raise UserError(f"{path}: not format {FORMAT} of a resident dataset; delete the folder and save it again")
    return meta


def read_array(path: Path) -> np.ndarray:
    """Map one .npy file read-only."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: missing or truncated ({error}); delete the folder and save it again") from error


def remove_stale(folder: Path) -> None:
    """Delete what writers of `folder` that were killed have left behind."""
    for partial in folder.parent.glob(f".{folder.name}.partial-*"):
        try:
            newest = max(path.stat().st_mtime for path in [partial, *partial.iterdir()])
        except FileNotFoundError:
            continue  # its writer has just finished
        if time.time() - newest > STALE_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)
