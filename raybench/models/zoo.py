"""Torchvision's classifiers, untrained; imported late because torchvision takes longer to import than torch itself.

Adds the two small vision transformers that papers use and torchvision does not name: its own class in their sizes
(Touvron et al. 2021, arXiv 2012.12877).
"""

import warnings
from typing import Any

import torchvision
from torch import nn
from torchvision.models import VisionTransformer
from torchvision.models.resnet import ResNet

from raybench.errors import UserError
from raybench.models.zoo_names import SMALL_TRANSFORMERS

BLOCKS = 12


def is_residual(name: str) -> bool:
    """Return whether the model is a residual network with the ImageNet stem."""
    if name in SMALL_TRANSFORMERS:
        return False
    return bool(torchvision.models.get_model_builder(name).__module__ == ResNet.__module__)


def build(name: str, *, num_classes: int, channels: int, cifar_stem: bool, image_size: int | None = None) -> nn.Module:
    """Build the model from torch's global random state; `image_size` is the input size of a vision transformer."""
    options: dict[str, Any] = {"num_classes": num_classes}
    if name.startswith("vit_"):
        options["image_size"] = _checked_image_size(name, image_size)
    model: nn.Module
    if name in SMALL_TRANSFORMERS:
        model = VisionTransformer(patch_size=16, num_layers=BLOCKS, **SMALL_TRANSFORMERS[name], **options)
        return model
    if name in ("googlenet", "inception_v3"):  # their auxiliary heads return tuples in training mode
        options |= {"aux_logits": False, "init_weights": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision warns about its future changes
        model = torchvision.models.get_model(name, weights=None, **options)
    if cifar_stem:
        assert isinstance(model, ResNet)
        model.conv1 = nn.Conv2d(channels, model.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    return model


def _checked_image_size(name: str, image_size: int | None) -> int:
    """Return the image size (default 224); raise UserError if patches do not divide it."""
    size, patch = image_size or 224, int(name.rsplit("_", 1)[-1])
    if size % patch:
        raise UserError(
            f"model {name!r} divides images into patches of {patch} x {patch} pixels, but the image size {size} is "
            f"not a multiple of {patch}; set data.resize or data.view.size, for instance to "
            f"{max(patch, size - size % patch)}"
        )
    return size
