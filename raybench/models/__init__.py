"""Build classifiers by name or by the user's own function, read their penultimate features, load checkpoints safely.

`features` is the input of the classification head: the same definition for every architecture, so a new one needs no
entry here. A checkpoint is read with `weights_only=True`; nothing in it is ever executed.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from raybench.errors import UserError, unknown
from raybench.models import own_model

Stem = Literal["cifar", "imagenet"]
CHANNELS = 3  # what every torchvision classifier reads; `cnn` reads the images' own number


def small_cnn(num_classes: int, channels: int, width: int = 32) -> nn.Sequential:
    """Return three 3 x 3 convolutions with batch norm, global pooling, one linear head; for 8 x 8 images and up."""

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
    """Return every model name: `cnn` and torchvision's classifiers."""
    from raybench.models import zoo  # a second and a half of import, which a worker with a small model can do without

    return ["cnn", *zoo.names()]


def check_name(name: str) -> None:
    """Refuse a model that does not exist, and a function of the user's own that cannot be called for one."""
    if own_model.is_own(name):
        own_model.arguments(name)
    elif name != "cnn" and name not in names():
        raise unknown("model", name, names(), hint="; all of them: raybench list models")


def source_fingerprint(name: str) -> str | None:
    """Return a hash of the file that defines the user's own model, None for one of raybench's."""
    return own_model.source_fingerprint(name) if own_model.is_own(name) else None


def has_fixed_size(name: str) -> bool:
    """Say whether the model reads images of the one size that it is built for: it cuts them into numbered patches."""
    return name.startswith("vit_") or (own_model.is_own(name) and "image_size" in own_model.arguments(name))


def check_stem(name: str, stem: Stem) -> None:
    """Refuse the `cifar` stem for anything but a residual network; `cnn` is made for small images as it is."""
    if stem == "imagenet" or name == "cnn":
        return
    from raybench.models import zoo

    if own_model.is_own(name) or not zoo.is_residual(name):
        raise UserError(f"model.stem 'cifar' is for residual networks, not {name!r} (allowed for it: imagenet)")


def input_channels(name: str, image_channels: int) -> int:
    """Return how many channels the model reads: three, or the images' own number where it can be built for that."""
    takes_any = name == "cnn" or (own_model.is_own(name) and "channels" in own_model.arguments(name))
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
    """Build the model with weights drawn from `seed`; the caller's random state is left as it was.

    `stem="cifar"` gives a residual network a 3 x 3 stride-1 first convolution and no max-pool, as every source uses on
    32 x 32 images. `width` is the number of first-layer channels of `cnn`. `image_size`, the side of the images in
    pixels, is needed by vision transformers (default 224); the user's own function gets it and `channels` where it
    takes them.
    """
    check_name(name)
    check_stem(name, stem)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "cnn":
            return small_cnn(num_classes, channels, width)
        if own_model.is_own(name):
            built = own_model.build(name, num_classes=num_classes, channels=channels, image_size=image_size)
            if (found := num_outputs(built)) != num_classes:
                raise UserError(
                    f"model {name!r} ends in {head_name(built)!r}, of {found} outputs; num_classes is {num_classes}"
                )
            return built
        from raybench.models import zoo

        return zoo.build(
            name, num_classes=num_classes, channels=channels, cifar_stem=stem == "cifar", image_size=image_size
        )


def reset(module: nn.Module, *, seed: int) -> None:
    """Redraw the weights of every layer with the layer's own initializer, in place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in module.modules():
            if callable(initialize := getattr(layer, "reset_parameters", None)):
                initialize()


def head_name(model: nn.Module) -> str:
    """Return the name of the classification head: the last linear layer, else the last convolution."""
    for kind in (nn.Linear, nn.Conv2d):
        found = [name for name, layer in model.named_modules() if isinstance(layer, kind)]
        if found:
            return found[-1]
    raise UserError(f"{type(model).__name__} has no linear or convolutional head to read features from")


def num_outputs(model: nn.Module) -> int:
    """Return how many logits the model gives."""
    head = model.get_submodule(head_name(model))
    return int(head.out_features if isinstance(head, nn.Linear) else head.out_channels)  # type: ignore[arg-type]


@dataclass
class Tap:
    """Holds the penultimate features of the latest forward pass, (B, D)."""

    features: Tensor | None = None


@contextmanager
def feature_tap(model: nn.Module) -> Iterator[Tap]:
    """Record the head's input during forward passes; spatial maps (convolutional heads) are averaged to (B, D)."""
    tap = Tap()

    def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        value = inputs[0]
        tap.features = value.mean(dim=(2, 3)) if value.ndim == 4 else value

    handle = model.get_submodule(head_name(model)).register_forward_pre_hook(record)
    try:
        yield tap
    finally:
        handle.remove()


def to_bytes(model: nn.Module) -> bytes:
    """Return the state dict as a file's bytes (CPU tensors, readable with `weights_only=True`)."""
    buffer = io.BytesIO()
    torch.save({name: value.detach().cpu() for name, value in model.state_dict().items()}, buffer)
    return buffer.getvalue()


def read_weights(source: bytes | Path, *, name: str = "checkpoint") -> dict[str, Tensor]:
    """Read a state dict: bare, under `state_dict` or `model`, with or without a `module.` prefix.

    Raises UserError for a file that is not a checkpoint or that would run code when unpickled.
    """
    name = str(source) if isinstance(source, Path) else name
    try:
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        content = torch.load(stream, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {name} does not exist") from error
    except Exception as error:
        raise UserError(
            f"checkpoint {name} cannot be read safely (weights_only=True): it is damaged, or it holds pickled code, "
            f"which raybench never runs; save only the state_dict. Reader's words: {_first_line(error)}"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(
            f"checkpoint {name} holds no state dict of tensors (allowed: a state dict, or one under 'state_dict')"
        )
    return {key.removeprefix("module."): value for key, value in content.items()}


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def load_weights(model: nn.Module, weights: dict[str, Tensor], *, name: str = "checkpoint") -> None:
    """Load a state dict strictly; the error says which tensors differ and how."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in weights]
    extra = [key for key in weights if key not in expected]
    shapes = [
        f"{key}: file {tuple(weights[key].shape)}, model {tuple(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    if missing or extra or shapes:
        parts = [
            f"{len(found)} {what} ({', '.join(found[:3])}{', ...' if len(found) > 3 else ''})"
            for what, found in (("tensors missing", missing), ("tensors unknown", extra), ("shapes different", shapes))
            if found
        ]
        raise UserError(f"checkpoint {name} is of another architecture than the model: {'; '.join(parts)}")
    model.load_state_dict(weights)


def start_from(model: nn.Module, weights: dict[str, Tensor], *, name: str) -> list[str]:
    """Load a state dict to start training from; return the tensors of the head that it has in another size.

    Those keep their new values. Anything else that differs is an error, as in `load_weights`.
    """
    head, own_weights = head_name(model), model.state_dict()
    resized = [
        key
        for key in (f"{head}.weight", f"{head}.bias")
        if key in weights and key in own_weights and weights[key].shape != own_weights[key].shape
    ]
    load_weights(model, {**weights, **{key: own_weights[key] for key in resized}}, name=name)
    return resized
