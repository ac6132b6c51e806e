"""Open samples of a dataset as the model reads them: resized or cut to the view, augmented, on a device."""

from collections.abc import Sequence

import numpy as np
import torch

from raybench.config.data import Images
from raybench.data.images import ImageData
from raybench.data.reading.batches import ResidentSplit, Split
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.short_side import ShortSide
from raybench.data.reading.stream import StreamedSplit


def open_samples(
    images: ImageData,
    ids: np.ndarray,
    config: Images,
    *,
    device: torch.device,
    channels: int,
    augment: Sequence[str] = (),
    channels_last: bool = False,
    short_side_cache: ShortSide | None = None,
) -> Split:
    """Return the samples `ids`: decoded batch by batch if the images are encoded files, else from the array."""
    if isinstance(images.images, Encoded):
        assert config.view is not None
        return StreamedSplit(
            images,
            ids,
            config.view,
            device=device,
            augment=augment,
            channels_last=channels_last,
            short_side_cache=short_side_cache,
        )
    return ResidentSplit(
        images,
        ids,
        device=device,
        channels=channels,
        resize=config.resize,
        augment=augment,
        channels_last=channels_last,
    )
