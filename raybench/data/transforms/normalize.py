"""Turn uint8 pixels into model input: (pixels / 255 - mean) / std, channels first, in the dtype of the model."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LARGE = 2**16  # images with at least this many values are normalized one by one, so that they stay in the CPU cache


class Normalizer:
    """Normalize batches of images of one width on one device."""

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        width: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        channels: int | None = None,
        channels_last: bool = False,
    ) -> None:
        """`channels=3` repeats a single channel."""
        # One multiplier and offset per value of an image row; a loop over 3 channels takes four times as long.
        self.offset = torch.tensor(mean, dtype=torch.float32).mul(255).repeat(width).to(device)
        self.scale = torch.tensor(std, dtype=torch.float32).mul(255).reciprocal().repeat(width).to(device)
        self.dtype = dtype
        self.channels = channels or len(mean)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, pixels: Tensor) -> Tensor:
        """Turn uint8 (B, H, W, C) into (pixels / 255 - mean) / std, (B, C, H, W)."""
        b, height, width, channels = pixels.shape
        rows = pixels.reshape(b, height, width * channels)
        if height * width * channels < LARGE or pixels.device.type != "cpu":
            values = rows.float().sub_(self.offset).mul_(self.scale)
        else:
            # numpy allocates huge pages; without them, page faults take three times as long as the arithmetic
            values = torch.from_numpy(np.empty(rows.shape, dtype=np.float32))
            for image, value in zip(rows, values):
                torch.sub(image, self.offset, out=value).mul_(self.scale)
        x = values.view(b, height, width, channels).permute(0, 3, 1, 2)
        if channels < self.channels:
            x = x.expand(-1, self.channels, -1, -1)
        return x.to(self.dtype).contiguous(memory_format=self.memory_format)
