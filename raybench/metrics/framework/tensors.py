"""Feature matrices as torch tensors on the device where they are: features on a GPU are measured there.

Features keep float32 (products in float32, sums in float64): at 50,000 x 2,048 a float64 copy would take 0.8 GB, and
the difference is below 1e-6. Everything else about arrays is in `arrays`.
"""

import warnings

import numpy as np
import torch

from raybench.metrics.framework.arrays import Array, as_array


def as_features(values: Array, *, name: str = "features") -> torch.Tensor:
    """Return finite features (N, D), N and D >= 1, in float32 or float64 (integers become float64, halves float32)."""
    if isinstance(values, torch.Tensor):
        rows = values.detach()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stored features are read-only, and no metric writes to them
            rows = torch.from_numpy(np.ascontiguousarray(as_array(values, name=name, dtype=None)))
    if not rows.dtype.is_floating_point:
        rows = rows.double()
    elif rows.dtype not in (torch.float32, torch.float64):
        rows = rows.float()
    if rows.ndim != 2 or not rows.numel():
        raise ValueError(f"{name} must be a non-empty array (N, D), got shape {tuple(rows.shape)}")
    # one sum costs a third of isfinite().all(), but can overflow
    if not torch.isfinite(rows.sum()) and not torch.isfinite(rows).all():
        raise ValueError(f"{name} contain NaN or infinite values")
    return rows


def exponents(rows: torch.Tensor) -> np.ndarray:
    """Return for each row (N, D) the e (N,) with 2^(e - 1) <= largest absolute value < 2^e; 0 for a row of zeros."""
    low, high = rows.aminmax(dim=1)
    powers: np.ndarray = np.frexp(torch.maximum(high, -low).cpu().numpy())[1]
    return powers


def squares_overflow(powers: np.ndarray) -> bool:
    """Return whether float32 loses the squares of rows with these `exponents`, or products of two squares."""
    return bool((np.abs(powers) > 30).any())


def divided(rows: torch.Tensor, powers: np.ndarray | int) -> torch.Tensor:
    """Return rows (N, D) / 2^powers for one power, or one for each row; exact, so ratios of results keep every bit."""
    limit = 126 if rows.dtype == torch.float32 else 1022
    factors = np.ldexp(1.0, np.clip(-np.atleast_1d(powers), -limit, limit))
    return rows * torch.from_numpy(factors).to(rows)[:, None]


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return left @ right.T; numpy does it on a CPU, 1.35x as fast as torch, 1.7x where `right is left`."""
    if left.device.type == "cpu":
        rows = left.numpy()
        return torch.from_numpy(rows @ (rows if right is left else right.numpy()).T)
    return left @ right.T


def as_class_labels(values: Array, n: int, *, name: str = "labels") -> np.ndarray:
    """Return class labels (n,) as int64; raise ValueError for another length or for labels (n, L)."""
    raw = as_array(values, name=name, dtype=None)
    if raw.ndim == 2:
        raise ValueError(f"{name} are multi-label {raw.shape}; this needs one class per sample, (N,)")
    if raw.shape != (n,):
        raise ValueError(f"{name} of shape {raw.shape} given for {n} samples")
    labels = raw.astype(np.int64)
    if raw.dtype.kind == "f" and not np.array_equal(labels, raw):
        raise ValueError(f"{name} must be whole numbers")
    return labels
