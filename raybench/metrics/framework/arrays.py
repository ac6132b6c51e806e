"""Checked numpy arrays from what a metric receives: numpy, torch on any device, or lists.

A metric is computed in float64. NaN would surface as a plausible number (argmax of a row of NaN is class 0), so logits,
losses and scores are checked for it here.
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from raybench.metrics.framework.streaming import Streamed

Array = np.ndarray | torch.Tensor | Any  # anything that numpy reads: (N,), (N, C), a list, a scalar
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def as_array(values: Array, *, name: str = "values", finite: bool = False, dtype: Any = np.float64) -> np.ndarray:
    """Return `values` as a numpy array of `dtype`; `dtype=None` keeps the type (bfloat16 and half become float32).

    Raise ValueError, naming the array, where it is not numeric, has masked values or rows of different lengths, or,
    with `finite`, where it contains NaN or infinity.
    """
    array = _to_numpy(values, name)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be numbers, got an array of {array.dtype}")
    if dtype is not None:
        array = array.astype(dtype, copy=False)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))
        raise ValueError(f"{name} contains {len(bad)} values that are NaN or infinite, the first at {bad[0].tolist()}")
    return array


def as_vector(values: Array, *, name: str = "values") -> np.ndarray:
    """Return `values` as a finite float64 array of shape (N,), N >= 1; a scalar becomes (1,)."""
    array = np.atleast_1d(as_array(values, name=name, finite=True))
    if array.ndim != 1:
        raise ValueError(f"{name} must have shape (N,), got {array.shape}")
    if not len(array):
        raise ValueError(f"{name} is empty")
    return array


def as_groups(values: Array, n: int) -> np.ndarray:
    """Return group names (N,), of any type, one for each of the `n` samples."""
    groups = _to_numpy(values, "groups")
    if groups.shape != (n,):
        raise ValueError(f"groups of shape {groups.shape} given for {n} samples")
    return groups


def take(values: Array, rows: Ints | Bools) -> np.ndarray:
    """Return the given rows (positions, or a mask) of an array, in its own type, or of a large split."""
    if isinstance(values, Streamed):
        return cast(np.ndarray, values[rows])
    return as_array(values, dtype=None)[rows]


def as_logits_and_labels(logits: Array, labels: Array, *, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Return finite logits (N, C) and integer labels: (N,) class indices, or (N, C) zeros and ones (multi-label).

    Raise ValueError for empty sets, shapes that do not match, a class index outside 0..C-1, or a single class.
    """
    scores = as_array(logits, name="logits", finite=True, dtype=dtype)
    raw = as_array(labels, name="labels", finite=True, dtype=None)
    if scores.ndim != 2:
        raise ValueError(f"logits must have shape (N, C), got {scores.shape}")
    if not len(scores):
        raise ValueError("logits are empty: there are no samples")
    targets = raw.astype(np.int64)
    if raw.dtype.kind == "f" and not np.array_equal(targets, raw):
        raise ValueError("labels must be whole numbers")
    if targets.shape == scores.shape:
        if targets.min() < 0 or targets.max() > 1:
            raise ValueError(f"multi-label labels must be 0 or 1, got {targets.min()}..{targets.max()}")
        return scores, targets
    if targets.shape != scores.shape[:1]:
        raise ValueError(f"labels {targets.shape} do not match logits {scores.shape}: use (N,) or (N, C)")
    if scores.shape[1] < 2:
        raise ValueError("logits have one column: a single-label task needs at least two classes")
    if targets.min() < 0 or targets.max() >= scores.shape[1]:
        raise ValueError(f"labels span {targets.min()}..{targets.max()}, but logits have {scores.shape[1]} classes")
    return scores, targets


def _to_numpy(values: Array, name: str) -> np.ndarray:
    if isinstance(values, Streamed):
        raise values.needed()
    if np.ma.is_masked(values):
        masked = int(np.count_nonzero(np.ma.getmask(values)))
        raise ValueError(f"{name} has {masked} masked values, which no metric can leave out: remove these samples")
    if not isinstance(values, torch.Tensor):
        try:
            return np.asarray(values)
        except ValueError as error:
            raise ValueError(f"{name} must be an array, but its rows have different shapes") from error
    tensor = values.detach().cpu()
    # numpy has no bfloat16
    return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
