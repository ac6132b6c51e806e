"""Build classifiers by name, read their penultimate features, and load checkpoints safely.

A model is `cnn`, a torchvision classifier (`zoo`, `zoo_names`), a timm model (`timm_models`) or a user-defined function
(`custom`).
Features are the input of the classification head (`heads`), for every architecture, so a new one needs no code here.
Checkpoints (`checkpoints`) are read without running code in them.
"""

from typing import Literal

import torch
from torch import nn

from raybench.errors import UserError, unknown
from raybench.models import custom, timm_models, zoo_names
from raybench.models.checkpoints import load_weights, read_weights, require_finite, start_from, to_bytes
from raybench.models.heads import Tap, feature_tap, head_name, num_outputs

__all__ = [
    "CHANNELS",
    "Stem",
    "Tap",
    "build",
    "check_name",
    "check_stem",
    "feature_tap",
    "has_fixed_size",
    "head_name",
    "input_channels",
    "load_weights",
    "names",
    "num_outputs",
    "num_parameters",
    "read_weights",
    "require_finite",
    "reset",
    "small_cnn",
    "source_fingerprint",
    "start_from",
    "to_bytes",
]

Stem = Literal["cifar", "imagenet"]
CHANNELS = 3  # input channels of torchvision classifiers; `cnn` is built for those of the images


def small_cnn(num_classes: int, channels: int, width: int = 32) -> nn.Sequential:
    """Return three 3 x 3 convolutions with batch norm, global pooling and a linear head; for 8 x 8 images and up."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *block(channels, width),
        nn.MaxPool2d(2),
        *block(width, 2 * width),
        nn.MaxPool2d(2),
        *block(2 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, num_classes),
    )


def names() -> list[str]:
    """Return every model name: `cnn` and torchvision's classifiers; those of timm are listed by timm."""
    return ["cnn", *zoo_names.names()]


def check_name(name: str) -> None:
    """Raise UserError for an unknown model, and for a user-defined function without num_classes."""
    if timm_models.is_timm(name):
        timm_models.check_name(name)
    elif custom.is_custom(name):
        custom.arguments(name)
    elif name != "cnn" and name not in names():
        raise unknown("model", name, names(), hint="; all of them: raybench list models")


def source_fingerprint(name: str) -> str | None:
    """Hash the code of a user-defined model; None for a model of raybench."""
    return custom.source_fingerprint(name) if custom.is_custom(name) else None


def has_fixed_size(name: str) -> bool:
    """Return whether the model is built for one image size, as a vision transformer with position embeddings is."""
    if timm_models.is_timm(name):
        return timm_models.has_fixed_size(name)
    return name.startswith("vit_") or (custom.is_custom(name) and "image_size" in custom.arguments(name))


def check_stem(name: str, stem: Stem) -> None:
    """Raise UserError for the `cifar` stem of a model that is not a residual network; `cnn` suits small images as it
    is.
    """
    if stem == "imagenet" or name == "cnn":
        return
    from raybench.models import zoo

    if timm_models.is_timm(name) or custom.is_custom(name) or not zoo.is_residual(name):
        raise UserError(f"model.stem 'cifar' is for residual networks, not {name!r} (allowed for it: imagenet)")


def input_channels(name: str, image_channels: int) -> int:
    """Return the number of channels that the model reads: three, or that of the images if it can be built for it."""
    takes_any = (
        name == "cnn" or timm_models.is_timm(name) or (custom.is_custom(name) and "channels" in custom.arguments(name))
    )
    return image_channels if takes_any else CHANNELS


def build(
    name: str,
    *,
    num_classes: int,
    channels: int = CHANNELS,
    seed: int = 0,
    stem: Stem = "imagenet",
    width: int = 32,
    image_size: int | None = None,
) -> nn.Module:
    """Build the model with weights drawn from `seed`; the global random state is restored.

    `stem="cifar"` gives a residual network a 3 x 3 stride-1 first convolution without max-pooling, as papers use for 32
    x 32 images. `width` is the number of first-layer channels of `cnn`. `image_size` in pixels is required by vision
    transformers (default 224); user-defined functions receive it and `channels` if they have such arguments.
    """
    check_name(name)
    check_stem(name, stem)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "cnn":
            return small_cnn(num_classes, channels, width)
        if timm_models.is_timm(name):
            return timm_models.build(name, num_classes=num_classes, channels=channels, image_size=image_size)
        if custom.is_custom(name):
            model = custom.build(name, num_classes=num_classes, channels=channels, image_size=image_size)
            if num_outputs(model) != num_classes:
                raise UserError(
                    f"model {name!r}: its head {head_name(model)!r} has {num_outputs(model)} outputs, but num_classes "
                    f"is {num_classes}"
                )
            return model
        from raybench.models import zoo

        return zoo.build(
            name, num_classes=num_classes, channels=channels, cifar_stem=stem == "cifar", image_size=image_size
        )


def reset(module: nn.Module, *, seed: int) -> None:
    """Reinitialize the weights of every layer in place, by its reset_parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in module.modules():
            if callable(initialize := getattr(layer, "reset_parameters", None)):
                initialize()


def num_parameters(model: nn.Module) -> int:
    """Return the number of trainable and frozen parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
