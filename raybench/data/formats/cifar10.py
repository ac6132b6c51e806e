"""CIFAR-10 in its official pickle layout: five training batches and a test batch of any size.

Rows are read in file order: data_batch_1 to data_batch_5, then test_batch.
"""

from pathlib import Path

from raybench.data.files.cifar_pickle import Std, read
from raybench.data.images import ImageData, dataset

FOLDER = "cifar-10-batches-py"
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STDS = {"pixels": (0.2470, 0.2435, 0.2616), "per_image": (0.2023, 0.1994, 0.2010)}


@dataset(
    source="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    needs=f"{FOLDER}/ (or is that folder) with {', '.join(BATCHES)}",
)
def cifar10(root: Path, *, download: bool = False, std: Std = "pixels") -> ImageData:
    """Read the batches; with `download`, fetch the official archive first where `root` has none.

    `std`: the standard deviation of all training pixels (0.2470, ...), or `per_image`, the mean over images of the
    deviation within each (0.2023, ...), which much released code normalizes by.
    """
    return read(
        "cifar10",
        root,
        FOLDER,
        BATCHES,
        BATCHES[-1:],
        label_key="labels",
        class_names=CLASSES,
        mean=(0.4914, 0.4822, 0.4465),
        stds=STDS,
        std=std,
        download=download,
    )
