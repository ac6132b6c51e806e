"""Handwritten digits: 1,797 scans of 8 x 8 pixels in 10 classes.

Layout: shipped with scikit-learn, so nothing is downloaded. Official splits: none. Groups: none. License: CC BY 4.0.
Reference: Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits.
"""

from pathlib import Path

import numpy as np

from raybench.data.images import ImageData, channel_statistics, dataset


@dataset(
    source="Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits (the copy in scikit-learn)",
    public=True,
)
def digits(root: Path | None = None, *, download: bool = False) -> ImageData:
    """Read the scans, gray levels 0 to 16 scaled to 0 to 255; one channel, training split only."""
    from sklearn.datasets import load_digits  # late: a second of imports

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
