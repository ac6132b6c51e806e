"""Torchvision's classifiers, untrained; imported late, since torchvision takes longer to import than torch itself."""

import warnings
from typing import Any

import torchvision
from torch import nn
from torchvision.models.resnet import ResNet


def names() -> list[str]:
    """Return the names of torchvision's classification models."""
    return torchvision.models.list_models(module=torchvision.models)


def is_residual(name: str) -> bool:
    """Return whether the model is a residual network with the ImageNet stem."""
    return torchvision.models.get_model_builder(name).__module__ == ResNet.__module__


def build(name: str, *, num_classes: int, channels: int, cifar_stem: bool) -> nn.Module:
    """Build the model from torch's global random state."""
    options: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if name in ("googlenet", "inception_v3"):  # their auxiliary heads return tuples in train mode
        options |= {"aux_logits": False, "init_weights": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision announces its own coming changes
        model = torchvision.models.get_model(name, **options)
    if cifar_stem:
        assert isinstance(model, ResNet)
        model.conv1 = nn.Conv2d(channels, model.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()  # type: ignore[assignment]
    return model
