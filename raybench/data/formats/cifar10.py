"""CIFAR-10: 60,000 color images of 32 x 32 pixels in 10 classes.

Layout: the official pickles, data_batch_1 to data_batch_5 and test_batch, of any size, read in this order. Official
splits: training, test. Groups: none. License: none stated. Reference: Krizhevsky 2009, Learning Multiple Layers of
Features from Tiny Images.
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
    public=True,
)
def cifar10(root: Path, *, download: bool = False, std: Std = "pixels") -> ImageData:
    """Read the batches; with `download`, fetch the official archive first if `root` does not contain it.

    `std: pixels` normalizes by the standard deviation of all training pixels (0.2470, ...); `per_image` by the mean
    over images of the standard deviation within each (0.2023, ...), as in much released code.
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
