"""The evaluation view: one square of fixed size from an image of any size.

`crop` is the usual evaluation view. The other two occur in released code; they change the aspect ratio and exist to
reproduce reported numbers.
"""

from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from raybench import limits
from raybench.errors import UserError, attach_key

Pixels = Annotated[int, Field(ge=1, le=limits.IMAGE_SIZE)]


class View(BaseModel):
    """A square of `size` pixels; `resize` is the size to scale to before the center crop.

    crop: scale the short side to `resize` (default: `size`), then crop the center. squash: scale both sides to `size`.
    squash_crop: scale both sides to `resize`, then crop the center.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Pixels = Field(description="Image size in pixels of the square that the model reads.")
    fit: Literal["crop", "squash", "squash_crop"] = Field(
        default="crop",
        description="`crop` scales the shorter side to `resize` and cuts out the center. `squash` scales both sides to "
        "`size`, `squash_crop` scales both sides to `resize` and cuts out the center; both change the aspect ratio, as "
        "the code of some papers does.",
    )
    resize: Pixels | None = Field(
        default=None, description="Size in pixels before the center is cut out; null is `size`. Not for `squash`."
    )

    @model_validator(mode="after")
    def _fits(self) -> "View":
        with attach_key("data", "view", "resize"):
            if self.resize is not None and self.fit == "squash":
                raise UserError("fit squash scales directly to size and takes no resize (allowed: crop, squash_crop)")
            if self.resize is not None and self.resize < self.size:
                raise UserError(f"resize {self.resize} is smaller than size {self.size}; it should be at least size")
        return self

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width to scale an image to before the center crop."""
        target = self.resize or self.size
        if self.fit != "crop":
            return target, target
        short = min(height, width)  # the long side is rounded down, as in torchvision: 500 x 375 becomes 341 x 256
        return target * height // short, target * width // short

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the view of a uint8 image (H, W, 3): uint8 (size, size, 3)."""
        height, width = self.scaled(*image.shape[:2])
        pixels = scale(torch.from_numpy(image), height, width)
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return pixels[top : top + self.size, left : left + self.size].numpy()


def scale(pixels: Tensor, height: int, width: int) -> Tensor:
    """Scale uint8 (H, W, 3) to (height, width, 3), bilinear with antialiasing, within one level of Pillow's."""
    if pixels.shape[:2] == (height, width):
        return pixels
    x = pixels[None].permute(0, 3, 1, 2)  # these strides make torch return channels last
    x = F.interpolate(x, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return x.permute(0, 2, 3, 1)[0]
