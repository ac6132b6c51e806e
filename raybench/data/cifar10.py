"""CIFAR-10 in its official pickle layout: five training batches and a test batch of any size.

Files are checked for what they hold, never for their md5, so a subset or a copy written again is as good as the
original. Rows are read in file order: data_batch_1 to data_batch_5, then test_batch.
"""

from pathlib import Path
from typing import Any

import numpy as np

from raybench.data import safe_pickle
from raybench.data.download import download as download_folder
from raybench.data.images import ImageData, dataset
from raybench.errors import UserError

FOLDER = "cifar-10-batches-py"
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PIXELS = 3 * 32 * 32


@dataset(
    source="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    needs=f"{FOLDER}/ (or is that folder) with {', '.join(BATCHES)}",
)
def cifar10(root: Path, *, download: bool = False) -> ImageData:
    """Read the batches; with `download`, fetch the official archive first where `root` has none.

    The standard deviation is that of all training pixels (0.2470, ...), not the mean over images of the deviation
    within each (0.2023, ...) that much code uses.
    """
    if download and not any((folder / BATCHES[0]).is_file() for folder in (root, root / FOLDER)):
        download_folder("CIFAR10", FOLDER, root)
    folder = root if (root / BATCHES[0]).is_file() or root.name == FOLDER else root / FOLDER
    missing = [name for name in BATCHES if not (folder / name).is_file()]
    if missing:
        raise UserError(f"cifar10: {str(folder)!r} lacks {', '.join(missing)} (expected: {', '.join(BATCHES)})")
    batches = [read_batch(folder / name) for name in BATCHES]
    counts = [len(labels) for _, labels in batches]
    return ImageData(
        images=np.concatenate([images for images, _ in batches]),
        labels=np.concatenate([labels for _, labels in batches]),
        part=np.repeat(np.array([name == "test_batch" for name in BATCHES], dtype=np.uint8), counts),
        class_names=CLASSES,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one batch file: images (n, 32, 32, 3) uint8 and labels (n,) int64."""
    content = safe_pickle.load(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, expected a dict with data and labels")
    batch = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    for key in ("data", "labels"):
        if key not in batch:
            raise UserError(f"{path}: no key {key!r} (keys: {', '.join(map(str, batch))})")
    data = batch["data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (len(data), PIXELS):
        raise UserError(f"{path}: data is {describe(data)}, expected uint8 (n, {PIXELS})")
    if len(data) == 0:
        raise UserError(f"{path}: holds no images")
    labels = np.asarray(batch["labels"]) if isinstance(batch["labels"], list | tuple | np.ndarray) else np.empty(())
    if labels.shape != (len(data),) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{path}: labels are {describe(batch['labels'])}, expected {len(data)} whole numbers")
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise UserError(f"{path}: labels run from {labels.min()} to {labels.max()}, expected 0 to {len(CLASSES) - 1}")
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels.astype(np.int64)


def describe(value: Any) -> str:
    """Say of what type and size something is."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if hasattr(value, "__len__") else "")
