"""Read the models of an audit from checkpoints: files of torch or safetensors, into copies of one architecture."""

import copy
from pathlib import Path

from torch import nn

from raybench import models
from raybench.errors import UserError
from raybench.models.checkpoints import Weights, fit_checkpoint, read_checkpoint

NO_ARCHITECTURE = (
    "pass architecture=, a torch module or a name of `raybench list models`, and its weights are read into a copy of it"
)


def load(file: str | Path, architecture: nn.Module | str | None, argument: str) -> nn.Module:
    """Return the model of a checkpoint; `argument` is its name in messages.

    Raises UserError without an architecture, for a file that cannot be read, and for another architecture.
    """
    if architecture is None:
        raise UserError(f"{argument} is a path: {NO_ARCHITECTURE}")
    if not isinstance(architecture, nn.Module | str):
        raise UserError(f"architecture is a {type(architecture).__name__}: {NO_ARCHITECTURE}")
    path = Path(file).expanduser()
    weights = read_checkpoint(path).weights
    if isinstance(architecture, nn.Module):
        model = copy.deepcopy(architecture)
    else:
        model = models.build(architecture, num_classes=_num_classes(architecture, weights, path))
    fit_checkpoint(model, weights, name=str(path))
    return model


def _num_classes(architecture: str, weights: Weights, path: Path) -> int:
    """Return the number of outputs of a checkpoint's head."""
    head = models.head_name(models.build(architecture, num_classes=2)) + ".weight"
    names = [name for name in weights if name == head or name.endswith(f".{head}")]
    if not names:
        raise UserError(f"checkpoint {path} has no tensor {head!r}, the head of {architecture!r}")
    return len(weights[names[0]])
