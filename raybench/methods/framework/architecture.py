"""Split a network into stages, from the input to the head, and reset or select parts of it.

Stages are what the papers count: the stem, `layer1` .. `layer4` and the head of a residual network, a block of a ViT, a
stage of a Swin or ConvNeXt, a convolution with its norm in a plain sequence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from raybench.errors import UserError

CONTAINERS = {"features", "encoder", "layers", "blocks", "stages"}  # names of containers in torchvision and timm
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass
class Stage:
    """Consecutive modules, plus parameters of the network itself that belong to them (class token, positions)."""

    modules: dict[str, nn.Module]
    names: list[str] = field(default_factory=list)

    def parameter_names(self) -> list[str]:
        """Return the names of the parameters."""
        inner = [f"{name}.{inner}" for name, module in self.modules.items() for inner, _ in module.named_parameters()]
        return self.names + inner

    def tensor_names(self) -> list[str]:
        """Return the names of parameters and buffers."""
        inner = [f"{name}.{key}" for name, module in self.modules.items() for key in module.state_dict()]
        return self.names + inner


def stages(model: nn.Module) -> list[Stage]:
    """Return the stages of the model in order; raise UserError for a model with a single stage."""
    result: list[Stage] = []
    for name, module in _parts(model, ""):
        if isinstance(module, NORMS) and result:
            result[-1].modules[name] = module
        else:
            result.append(Stage({name: module}))
    if len(result) < 2:
        raise UserError(f"{type(model).__name__} has a single stage, so this method is not defined for it")
    covered = {name for stage in result for name in stage.parameter_names()}
    result[0].names = [name for name, _ in model.named_parameters() if name not in covered]
    return result


def last_stages(model: nn.Module, count: int) -> tuple[list[Stage], list[Stage]]:
    """Return (earlier stages, the last `count` stages with the head); both must have at least one stage."""
    every = stages(model)
    if not 1 <= count < len(every):
        raise UserError(f"stages = {count}: {type(model).__name__} has {len(every)} (allowed: 1 to {len(every) - 1})")
    return every[:-count], every[-count:]


def copy_tensors(target: nn.Module, source: nn.Module, names: list[str]) -> None:
    """Copy the named parameters and buffers; from a fresh model this resets them with the layers' own initializers."""
    to, origin = target.state_dict(), source.state_dict()  # state dicts share memory with the model
    with torch.no_grad():
        for name in names:
            to[name].copy_(origin[name])


def convolutions(model: nn.Module, *, method: str) -> dict[str, nn.Conv2d]:
    """Return every convolution by name; raise UserError if there is none."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    if not layers:
        raise UserError(f"{method} changes convolutions, but {type(model).__name__} has none")
    return layers


def spatial_convolutions(model: nn.Module, *, method: str) -> dict[str, nn.Conv2d]:
    """Return the convolutions with kernels larger than 1 x 1; raise UserError if there are fewer than two.

    A transformer has one such convolution, its patch embedding, and is not a convolutional network.
    """
    every = convolutions(model, method=method)
    layers = {name: layer for name, layer in every.items() if max(layer.kernel_size) > 1}
    if len(layers) < 2:
        raise UserError(f"{method} changes convolutions, but {type(model).__name__} has none beyond its first layer")
    return layers


def weight_matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of linear, convolutional and attention layers by name, without norms and embeddings."""
    weights: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            weights[f"{name}.weight".lstrip(".")] = layer.weight
        elif isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
            weights[f"{name}.in_proj_weight".lstrip(".")] = layer.in_proj_weight
    return weights


def _parts(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if not any(True for _ in child.parameters()):
            continue
        path = f"{prefix}{name}"
        if name in CONTAINERS:
            yield from _parts(child, f"{path}.")
        else:
            yield path, child
