"""torch.compile for trainings."""

import importlib.util
import os
import shutil
from typing import cast

import torch
from torch import nn

from raybench.errors import UserError

BACKEND = "inductor"


def compiled(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a compiled wrapper that shares the weights of `model`; the state dict of `model` keeps its names.

    Each batch size is compiled once, without dynamic shapes: a training that resumes then computes every batch with
    the same kernels. Raise UserError if the machine cannot compile.
    """
    if BACKEND == "inductor":
        _check_compiler(device)
    torch.compiler.reset()  # a process trains many models, and torch stops compiling after a few of one class
    return cast(nn.Module, torch.compile(model, dynamic=False, backend=BACKEND))


def _check_compiler(device: torch.device) -> None:
    name = os.environ.get("CXX", "g++") if device.type == "cpu" else os.environ.get("CC", "gcc")
    if shutil.which(name) is None:
        variable = "CXX" if device.type == "cpu" else "CC"
        raise UserError(
            f"train.compile: torch.compile needs a compiler, and {name!r} is not on the PATH of this worker (install "
            f"gcc and g++, set {variable} to another compiler, or set train.compile: false)"
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UserError(
            "train.compile: torch.compile needs triton on a CUDA device, and it is not installed on this worker "
            "(pip install triton, or set train.compile: false)"
        )
