"""Read a network as a list of stages, from the input to the head, and redraw parts of it.

A stage is what the papers count: the stem, `layer1` .. `layer4` and the head of a residual network, a block of a ViT, a
stage of a Swin or ConvNeXt, a convolution with its norm in a plain sequence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from raybench.errors import UserError

CONTAINERS = {"features", "encoder", "layers"}  # names under which torchvision keeps the parts of a network
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass
class Stage:
    """Consecutive modules, and the parameters of the network itself that act with them (class token, positions)."""

    modules: dict[str, nn.Module]
    names: list[str] = field(default_factory=list)

    def parameter_names(self) -> list[str]:
        inner = [f"{name}.{inner}" for name, module in self.modules.items() for inner, _ in module.named_parameters()]
        return self.names + inner

    def tensor_names(self) -> list[str]:
        """Names of parameters and buffers."""
        inner = [f"{name}.{key}" for name, module in self.modules.items() for key in module.state_dict()]
        return self.names + inner


def stages(model: nn.Module) -> list[Stage]:
    """Return the stages of the model in order; raises UserError for a model that is one indivisible piece."""
    found: list[Stage] = []
    for name, module in _parts(model, ""):
        if isinstance(module, NORMS) and found:
            found[-1].modules[name] = module
        else:
            found.append(Stage({name: module}))
    if len(found) < 2:
        raise UserError(f"{type(model).__name__} has no stages to tell apart, so this method is not defined for it")
    covered = {name for stage in found for name in stage.parameter_names()}
    found[0].names = [name for name, _ in model.named_parameters() if name not in covered]
    return found


def last_stages(model: nn.Module, count: int) -> tuple[list[Stage], list[Stage]]:
    """Return (earlier stages, the last `count` stages, head included); at least one stage must stay on each side."""
    found = stages(model)
    if not 1 <= count < len(found):
        raise UserError(f"stages = {count}: {type(model).__name__} has {len(found)} (allowed: 1 to {len(found) - 1})")
    return found[:-count], found[-count:]


def copy_tensors(target: nn.Module, source: nn.Module, names: list[str]) -> None:
    """Copy the named parameters and buffers; from a fresh model this is a reset with the layers' own initializers."""
    here, there = target.state_dict(), source.state_dict()  # state dicts share memory with the model
    with torch.no_grad():
        for name in names:
            here[name].copy_(there[name])


def convolutions(model: nn.Module, *, method: str) -> dict[str, nn.Conv2d]:
    """Return every convolution by name; UserError where there is none."""
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    if not found:
        raise UserError(f"{method} changes convolutions, and {type(model).__name__} has none")
    return found


def spatial_convolutions(model: nn.Module, *, method: str) -> dict[str, nn.Conv2d]:
    """Return the convolutions with kernels larger than 1 x 1; UserError where the model is not convolutional.

    The patch embedding of a transformer is one such convolution, and no convolutional network.
    """
    every = convolutions(model, method=method)
    found = {name: layer for name, layer in every.items() if max(layer.kernel_size) > 1}
    if len(found) < 2:
        raise UserError(f"{method} changes convolutions, and {type(model).__name__} has none beyond its first layer")
    return found


def weight_matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of linear, convolutional and attention layers by name: not biases, norms or embeddings."""
    found: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            found[f"{name}.weight".lstrip(".")] = layer.weight
        elif isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
            found[f"{name}.in_proj_weight".lstrip(".")] = layer.in_proj_weight
    return found


def _parts(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if not any(True for _ in child.parameters()):
            continue
        path = f"{prefix}{name}"
        if name in CONTAINERS:
            yield from _parts(child, f"{path}.")
        else:
            yield path, child
