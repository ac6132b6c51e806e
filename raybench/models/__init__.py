"""Build classifiers by name, read their penultimate features, and load checkpoints safely.

A model is `cnn`, a torchvision classifier (`zoo`) or a user-defined function (`custom`). Features are the input of the
classification head, for every architecture, so a new one needs no code here. Checkpoints (`checkpoints`) are read with
`weights_only=True`; nothing in them is ever executed.
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
from raybench.models import custom

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
    """Return every model name: `cnn` and torchvision's classifiers."""
    from raybench.models import zoo  # imported late: it takes 1.5 s, which workers with a small model do not need

    return ["cnn", *zoo.names()]


def check_name(name: str) -> None:
    """Raise UserError for an unknown model, and for a user-defined function without num_classes."""
    if custom.is_custom(name):
        custom.arguments(name)
    elif name != "cnn" and name not in names():
        raise unknown("model", name, names(), hint="; all of them: raybench list models")


def source_fingerprint(name: str) -> str | None:
    """Hash the code of a user-defined model; None for a model of raybench."""
    return custom.source_fingerprint(name) if custom.is_custom(name) else None


def has_fixed_size(name: str) -> bool:
    """Return whether the model is built for one image size, as a vision transformer with position embeddings is."""
    return name.startswith("vit_") or (custom.is_custom(name) and "image_size" in custom.arguments(name))


def check_stem(name: str, stem: Stem) -> None:
    """Raise UserError for the `cifar` stem of a model that is not a residual network; `cnn` suits small images as it
    is.
    """
    if stem == "imagenet" or name == "cnn":
        return
    from raybench.models import zoo

    if custom.is_custom(name) or not zoo.is_residual(name):
        raise UserError(f"model.stem 'cifar' is for residual networks, not {name!r} (allowed for it: imagenet)")


def input_channels(name: str, image_channels: int) -> int:
    """Return the number of channels that the model reads: three, or that of the images if it can be built for it."""
    takes_any = name == "cnn" or (custom.is_custom(name) and "channels" in custom.arguments(name))
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


def head_name(model: nn.Module) -> str:
    """Return the name of the classification head: the last linear layer, else the last convolution."""
    for kind in (nn.Linear, nn.Conv2d):
        layers = [str(name) for name, layer in model.named_modules() if isinstance(layer, kind)]
        if layers:
            return layers[-1]
    raise UserError(f"{type(model).__name__} has no linear or convolutional head to read features from")


def num_parameters(model: nn.Module) -> int:
    """Return the number of trainable and frozen parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def num_outputs(model: nn.Module) -> int:
    """Return the number of logits of the model."""
    head = model.get_submodule(head_name(model))
    assert isinstance(head, nn.Linear | nn.Conv2d)
    return head.out_features if isinstance(head, nn.Linear) else head.out_channels


@dataclass
class Tap:
    """The penultimate features of the latest forward pass, (B, D)."""

    features: Tensor | None = None


@contextmanager
def feature_tap(model: nn.Module) -> Iterator[Tap]:
    """Record the input of the head in forward passes; spatial maps of convolutional heads are averaged to (B, D)."""
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
    """Serialize the state dict (CPU tensors, readable with `weights_only=True`)."""
    buffer = io.BytesIO()
    torch.save({name: value.detach().cpu() for name, value in model.state_dict().items()}, buffer)
    return buffer.getvalue()


def read_weights(source: bytes | Path, *, name: str = "checkpoint") -> dict[str, Tensor]:
    """Read a state dict: bare, under `state_dict` or `model`, with or without the prefix `module.`.

    Raises UserError for a file that is not a checkpoint or contains code.
    """
    name = str(source) if isinstance(source, Path) else name
    try:
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        num_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
        content = torch.load(stream, map_location="cpu", weights_only=True)
        _check_storage(content, num_bytes)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {name} does not exist") from error
    except Exception as error:
        raise UserError(
            f"checkpoint {name} cannot be read safely (weights_only=True): it is damaged or contains pickled code, "
            f"which raybench never runs; save only the state_dict. Error of torch.load: {_first_line(error)}"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = isinstance(content, dict) and content and all(isinstance(v, Tensor) for v in content.values())
    if not tensors or not all(isinstance(key, str) for key in content):
        raise UserError(
            f"checkpoint {name} contains no state dict of tensors by name (allowed: a state dict, or one under "
            "'state_dict')"
        )
    for key, value in content.items():
        if (kind := _not_dense(value)) is not None:
            raise UserError(f"checkpoint {name}: {key} is {kind} (allowed: dense tensors of real numbers)")
    return {key.removeprefix("module."): value for key, value in content.items()}


def _not_dense(value: Tensor) -> str | None:
    """Return what a tensor is if it holds no plain array of real numbers."""
    if value.is_nested or value.layout != torch.strided:
        return "a sparse or nested tensor"
    if value.is_meta:
        return "a tensor without values (device meta)"
    if value.is_quantized or value.is_complex():
        return f"a tensor of {value.dtype}"
    return None


def require_finite(weights: dict[str, Tensor], *, name: str) -> None:
    """Raise UserError for weights that hold NaN or infinite numbers: no training and no metric recovers from them."""
    broken = [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UserError(
            f"checkpoint {name}: its weights hold NaN or infinite numbers, in {len(broken)} tensors "
            f"({', '.join(broken[:3])}{', ...' if len(broken) > 3 else ''})"
        )


def _check_storage(content: object, num_bytes: int) -> None:
    """Raise ValueError if the tensors claim more memory than the file has bytes: torch trusts what its header says."""
    sizes: dict[int, int] = {}
    pending = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, Tensor) and _not_dense(value) is None:
            storage = value.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
    if sum(sizes.values()) > num_bytes:
        raise ValueError(f"its tensors claim {sum(sizes.values()):,} bytes, the file has {num_bytes:,}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def load_weights(model: nn.Module, weights: dict[str, Tensor], *, name: str = "checkpoint") -> None:
    """Load a state dict strictly; the error lists the tensors that differ."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in weights]
    extra = [key for key in weights if key not in expected]
    shapes = [
        f"{key}: file {tuple(weights[key].shape)}, model {tuple(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    if missing or extra or shapes:
        problems = [
            f"{len(keys)} {problem} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for problem, keys in (
                ("tensors missing", missing),
                ("tensors unknown", extra),
                ("shapes different", shapes),
            )
            if keys
        ]
        raise UserError(f"checkpoint {name} is of another architecture than the model: {'; '.join(problems)}")
    model.load_state_dict(weights)


def start_from(model: nn.Module, weights: dict[str, Tensor], *, name: str) -> list[str]:
    """Load a state dict to start training from; return the head tensors with another size in it.

    Those keep their random values. Any other difference is an error, as in `load_weights`.
    """
    head, initial = head_name(model), model.state_dict()
    resized = [
        key
        for key in (f"{head}.weight", f"{head}.bias")
        if key in weights and key in initial and weights[key].shape != initial[key].shape
    ]
    load_weights(model, {**weights, **{key: initial[key] for key in resized}}, name=name)
    return resized
