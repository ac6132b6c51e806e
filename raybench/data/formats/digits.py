"""Handwritten digits: 1797 real 8 x 8 scans that come with scikit-learn, so nothing is downloaded."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from raybench.data.images import ImageData, channel_statistics, dataset


@dataset(source="Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits (the copy in scikit-learn)")
def digits(root: Path | None = None, *, download: bool = False) -> ImageData:
    """Read the scans, gray values 0 to 16 scaled to 0 to 255; one part, 10 classes, one channel."""
    source = load_digits()
    images = np.rint(source.images * (255 / 16)).astype(np.uint8)[..., None]
    mean, std = channel_statistics(images)
    return ImageData(
        images=images,
        labels=source.target.astype(np.int64),
        part=np.zeros(len(images), dtype=np.uint8),
        class_names=tuple(str(digit) for digit in range(10)),
        mean=mean,
        std=std,
    )
