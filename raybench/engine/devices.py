"""Where the arithmetic runs and in which precision."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

from raybench.errors import UserError

Precision = Literal["fp32", "bf16", "auto"]


def resolve_device(name: str) -> torch.device:
    """Return the device; `auto` is CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name!r} was asked for, but this machine has no CUDA device (allowed here: cpu, auto)")
    return device


def resolve_precision(name: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Return the precision; `auto` is bf16 where the hardware multiplies it natively, fp32 elsewhere."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # emulated bf16 is slower than fp32, so the CPU must have the instructions
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def autocast(precision: Literal["fp32", "bf16"], device: torch.device) -> AbstractContextManager[object]:
    """Return the mixed-precision context of a forward pass."""
    # fp32 switches an outer bf16 off: a training inside a method has a precision of its own. Without the cache, since
    # a method runs in one context, and the cache would keep the weights of its first step for all later ones.
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)
