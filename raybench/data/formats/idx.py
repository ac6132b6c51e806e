"""MNIST and Fashion-MNIST: 70,000 gray images of 28 x 28 pixels in 10 classes.

Layout: four idx files, plain or .gz. Official splits: training, test. Groups: none. License: MNIST CC BY-SA 3.0,
Fashion-MNIST MIT. References: LeCun et al. 1998, Gradient-based learning applied to document recognition; Xiao et al.
2017, arXiv 1708.07747.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from raybench import limits
from raybench.data.files.download import download as download_folder
from raybench.data.images import ImageData, dataset
from raybench.errors import UserError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
BLOCK = 2**24  # bytes
MAGIC = {1: 2049, 3: 2051}  # 0x08 = unsigned byte, then the number of dimensions
NEEDS = f"{', '.join(FILES)} (each plain or .gz), in it, in raw/ or in "


@dataset(
    source="LeCun et al. 1998, Gradient-based learning applied to document recognition",
    needs=f"{NEEDS}MNIST/raw/",
    public=True,
)
def mnist(root: Path, *, download: bool = False) -> ImageData:
    """Read MNIST; with `download`, fetch it first if `root` does not contain it."""
    if download and find_folder(root, "MNIST") is None:
        download_folder("MNIST", "MNIST", root)
    return read(root, "MNIST", tuple(str(digit) for digit in range(10)), mean=0.1307, std=0.3081)


@dataset(source="Xiao et al. 2017, arXiv 1708.07747", needs=f"{NEEDS}FashionMNIST/raw/", public=True)
def fashion_mnist(root: Path, *, download: bool = False) -> ImageData:
    """Read Fashion-MNIST; with `download`, fetch it first if `root` does not contain it."""
    if download and find_folder(root, "FashionMNIST") is None:
        download_folder("FashionMNIST", "FashionMNIST", root)
    names = "T-shirt/top,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"
    return read(root, "FashionMNIST", tuple(names.split(",")), mean=0.2860, std=0.3530)


def read(root: Path, name: str, class_names: tuple[str, ...], *, mean: float, std: float) -> ImageData:
    """Read the four files of one dataset and check that they match."""
    folder = find_folder(root, name)
    if folder is None:
        raise UserError(f"{name}: no idx files in {str(root)!r}, raw/ or {name}/raw/; expected {', '.join(FILES)}")
    paths = [find_file(folder, file) for file in FILES]
    missing = [file for file, path in zip(FILES, paths) if path is None]
    if missing:
        raise UserError(f"{name}: {str(folder)!r} lacks {', '.join(missing)} (plain or .gz)")
    train_images, train_labels, test_images, test_labels = (read_idx(path) for path in paths if path is not None)
    for images, labels, path in ((train_images, train_labels, paths[1]), (test_images, test_labels, paths[3])):
        if len(images) != len(labels):
            raise UserError(f"{path}: {len(labels)} labels for {len(images)} images")
        if labels.size and labels.max() >= len(class_names):
            raise UserError(f"{path}: label {labels.max()}, expected 0 to {len(class_names) - 1}")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise UserError(f"{name}: training images are {train_images.shape[1:]}, test images {test_images.shape[1:]}")
    return ImageData(
        images=np.concatenate([train_images, test_images])[..., None],
        labels=np.concatenate([train_labels, test_labels]).astype(np.int64),
        part=np.repeat(np.array([0, 1], dtype=np.uint8), [len(train_labels), len(test_labels)]),
        class_names=class_names,
        mean=(mean,),
        std=(std,),
    )


def find_folder(root: Path, name: str) -> Path | None:
    """Return the first of root, root/raw and root/<name>/raw that contains any of the files."""
    folders = (root, root / "raw", root / name / "raw")
    return next((folder for folder in folders if any(find_file(folder, file) for file in FILES)), None)


def find_file(folder: Path, name: str) -> Path | None:
    """Return the plain or compressed file called `name`, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx(path: Path) -> np.ndarray:
    """Read one idx file of unsigned bytes; check magic number, shape and length."""
    dimensions = 3 if "idx3" in path.name else 1
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return read_stream(file, path, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); is the file truncated?") from error


def read_up_to(file: "IO[bytes] | gzip.GzipFile", count: int) -> bytearray:
    """Read at most `count` bytes, block by block: a header that promises more than the file has costs no memory."""
    content = bytearray()
    while len(content) < count and (block := file.read(min(BLOCK, count - len(content)))):
        content += block
        if len(content) > limits.TEXT_BYTES:
            raise OSError(f"more than {limits.TEXT_BYTES:,} bytes")
    return content


def read_stream(file: "IO[bytes] | gzip.GzipFile", path: Path, dimensions: int) -> np.ndarray:
    """Read the header and the values of an open idx file."""
    start = file.read(4 * (1 + dimensions))
    magic = MAGIC[dimensions].to_bytes(4, "big")
    if len(start) < 4 * (1 + dimensions) or start[:4] != magic:
        raise UserError(f"{path}: starts with {start[:4].hex() or 'nothing'}, expected the magic number {magic.hex()}")
    header = np.frombuffer(start, dtype=">u4")
    shape = tuple(int(size) for size in header[1:])
    content = read_up_to(file, math.prod(shape) + 1)
    if len(content) != math.prod(shape):
        more = "more" if len(content) > math.prod(shape) else len(content)
        raise UserError(f"{path}: the header gives {shape} = {math.prod(shape)} bytes, found {more}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
