"""Feature matrices as torch tensors where they already are: what lies on a GPU is measured there.

Features keep float32 (products in float32, sums in float64): at 50,000 x 2,048 a float64 copy would be 0.8 GB, and the
difference is below 1e-6. Everything else about arrays goes through `arrays`.
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
            warnings.simplefilter("ignore")  # stored features are read-only, and nothing here writes to them
            rows = torch.from_numpy(np.ascontiguousarray(as_array(values, name=name, dtype=None)))
    if not rows.dtype.is_floating_point:
        rows = rows.double()
    elif rows.dtype not in (torch.float32, torch.float64):
        rows = rows.float()
    if rows.ndim != 2 or not rows.numel():
        raise ValueError(f"{name} must be a non-empty array (N, D), got shape {tuple(rows.shape)}")
    # one sum costs a third of isfinite().all(); it overflows only where every square would
    if not torch.isfinite(rows.sum()):
        raise ValueError(f"{name} hold NaN or infinite values")
    return rows


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return left @ right.T, by numpy on a CPU: 1.35x torch there, and 1.7x for `right is left` (one triangle only)."""
    if left.device.type == "cpu":
        rows = left.numpy()
        return torch.from_numpy(rows @ (rows if right is left else right.numpy()).T)
    return left @ right.T


def as_class_labels(values: Array, n: int, *, name: str = "labels") -> np.ndarray:
    """Return class labels (n,) as int64; raise ValueError for another length or for labels (n, L)."""
    given = as_array(values, name=name, dtype=None)
    if given.ndim == 2:
        raise ValueError(f"{name} are multi-label {given.shape}; this needs one class per sample, (N,)")
    if given.shape != (n,):
        raise ValueError(f"{name} of shape {given.shape} given for {n} samples")
    labels = given.astype(np.int64)
    if given.dtype.kind == "f" and not np.array_equal(labels, given):
        raise ValueError(f"{name} must be whole numbers")
    return labels
