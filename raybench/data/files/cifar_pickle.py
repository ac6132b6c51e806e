"""The pickle files of CIFAR-10 and CIFAR-100: rows of 3072 bytes (red, green, blue) and a list of labels.

Files are validated by content, never by md5, so a subset or a rewritten copy works as well as the original.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from raybench.data.files import safe_pickle
from raybench.data.files.download import download as download_folder
from raybench.data.images import ImageData
from raybench.data.listing import first_few
from raybench.errors import UserError, unknown

PIXELS = 3 * 32 * 32
Std = Literal["pixels", "per_image"]


def read(
    name: str,
    root: Path,
    folder: str,
    files: Sequence[str],
    tests: Sequence[str],
    *,
    label_key: str,
    class_names: Sequence[str],
    mean: tuple[float, ...],
    stds: Mapping[str, tuple[float, ...]],
    std: str,
    download: bool,
) -> ImageData:
    """Read `files` in order from `root` or its subfolder `folder`; `tests` are the official test split."""
    if std not in stds:
        raise unknown(f"std of {name}", std, stds)
    if download and not any((place / files[0]).is_file() for place in (root, root / folder)):
        download_folder(name.upper(), folder, root)
    location = root if (root / files[0]).is_file() or root.name == folder else root / folder
    missing = [file for file in files if not (location / file).is_file()]
    if missing:
        raise UserError(f"{name}: {str(location)!r} lacks {', '.join(missing)} (expected: {', '.join(files)})")
    batches = [read_batch(location / file, label_key, len(class_names)) for file in files]
    return ImageData(
        images=np.concatenate([images for images, _ in batches]),
        labels=np.concatenate([labels for _, labels in batches]),
        part=np.repeat(np.array([file in tests for file in files], dtype=np.uint8), [len(la) for _, la in batches]),
        class_names=tuple(class_names),
        mean=mean,
        std=stds[std],
    )


def read_batch(path: Path, label_key: str, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one file: images (n, 32, 32, 3) uint8 and labels (n,) int64."""
    content = safe_pickle.load(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: contains a {type(content).__name__}, expected a dict with data and {label_key}")
    batch = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    for key in ("data", label_key):
        if key not in batch:
            raise UserError(f"{path}: no key {key!r} (keys: {first_few(batch)})")
    data, stored_labels = batch["data"], batch[label_key]
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.ndim != 2
        or data.shape != (len(data), PIXELS)
    ):
        raise UserError(f"{path}: data is {describe(data)}, expected uint8 (n, {PIXELS})")
    if len(data) == 0:
        raise UserError(f"{path}: contains no images")
    # of a list in which one list holds another twice, and so on, numpy would make an array without end
    flat = isinstance(stored_labels, np.ndarray) or (
        isinstance(stored_labels, list | tuple) and all(isinstance(x, int | np.integer) for x in stored_labels)
    )
    labels = np.asarray(stored_labels) if flat and len(stored_labels) == len(data) else np.empty(())
    if labels.shape != (len(data),) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{path}: {label_key} are {describe(stored_labels)}, expected {len(data)} whole numbers")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(
            f"{path}: {label_key} run from {labels.min()} to {labels.max()}, expected 0 to {num_classes - 1}"
        )
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels.astype(np.int64)


def describe(value: Any) -> str:
    """Describe the type and size of a value."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if hasattr(value, "__len__") else "")
