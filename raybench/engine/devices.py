"""Device and precision of a computation."""

from contextlib import AbstractContextManager
from typing import Literal

import torch
from threadpoolctl import threadpool_limits

from raybench.errors import UserError

Precision = Literal["fp32", "bf16", "auto"]


def resolve_device(name: str) -> torch.device:
    """Return the device; `auto` is CUDA if available, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"resources.device = {name!r}: this machine has no CUDA device (allowed here: cpu, auto)")
    return device


def set_num_threads(threads: int) -> None:
    """Set the CPU threads of torch and of numpy's BLAS for the rest of the process.

    Sums depend on the number of threads in their last bits, and Ray reuses worker processes across tasks that reserve
    different numbers of CPUs, so every job sets it before it computes.
    """
    torch.set_num_threads(threads)
    threadpool_limits(limits=threads)


def resolve_precision(name: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Return the precision; `auto` is bf16 if the hardware supports it natively, else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # emulated bf16 is slower than fp32
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def autocast(precision: Literal["fp32", "bf16"], device: torch.device) -> AbstractContextManager[object]:
    """Return the mixed-precision context of a forward pass."""
    # fp32 disables an outer bf16 context: training inside a method has its own precision. The weight cache is off: a
    # method runs in one context, and the cache would reuse the casted weights of its first step in all later ones.
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)
