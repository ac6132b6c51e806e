"""CKA (centered kernel alignment) between two sets of features of the same samples.

CKA = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)) (Kornblith et al. 2019, arXiv 1905.00414), where HSIC is the
Hilbert-Schmidt independence criterion; its unbiased estimate is the U-statistic of Song et al. 2012. Memory does not
grow with the number of samples.

The mean over batches of biased CKA, as released with arXiv 2503.06991, is another number: 0.80 for unrelated features
of width 2,048 at batch size 512, and 0.33 for a true 0.71 on class-sorted batches.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from raybench.metrics.framework.arrays import Array, Floats
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.framework.streaming import (
    Accumulator,
    Positions,
    Rows,
    State,
    WholeArrayNeeded,
    mergeable,
)
from raybench.metrics.framework.tensors import as_features, divided, exponents, product, squares_overflow
from raybench.metrics.functions.cka_moments import CkaMoments, Pilot, Sums, linear_cka, ratio
from raybench.metrics.functions.intervals import jackknife, mean_interval

Estimator = Literal["unbiased", "biased", "batched"]

_FINISHED_TOGETHER = 1 << 20


def cka(x: Array, y: Array, estimator: Estimator = "unbiased", batch_size: int = 512) -> float:
    """Compute linear CKA of features (N, D) and (N, E): 1 = equal up to rotation, scale and shift, 0 = unrelated.

    - `unbiased` can fall slightly below 0.
    - `biased` grows with D / N.
    - `batched` is the mean of biased CKA over consecutive batches, for comparison with reported numbers only.

    float32 features are multiplied in float32 and summed in float64 (error below 1e-6). Raise ValueError for constant
    features, unpaired rows, or fewer than 4 samples.
    """
    first, second = _paired(x, y)
    if estimator == "batched":
        return float(np.mean(_batch_values(first, second, batch_size)))
    return _defined(_values(first, second, estimator, 0)[0], estimator)


def cka_estimate(
    x: Array, y: Array, *, estimator: Estimator = "unbiased", batch_size: int = 512, groups: int = 20
) -> Estimate:
    """Compute `cka` with its interval: jackknife over `groups` interleaved groups of samples.

    For `batched` the interval is Student's t over the batches.
    """
    if estimator == "batched":
        first, second = _paired(x, y)
        return mean_interval(_batch_values(first, second, batch_size))._replace(n=len(first))
    return _linear(x, y, estimator, groups)


class _Moments:
    """The moments of a piece, whose samples are all of one group of the jackknife."""

    def __init__(self) -> None:
        self._moments = CkaMoments()

    def update(self, arrays: Mapping[str, Any], positions: Positions) -> None:
        self._moments.add(arrays["x"], arrays["y"])

    def state(self) -> State:
        return self._moments.state()


class _MergeMoments:
    def accumulator(self, function: Callable[..., Any], settings: Mapping[str, Any]) -> Accumulator:
        return _Moments()

    def result(self, states: Sequence[State], pieces: Sequence[Rows], settings: Mapping[str, Any]) -> Estimate:
        """Return the estimate from pieces of every 20th sample; states are read twice, one at a time."""
        n, estimator = sum(map(len, pieces)), settings["estimator"]
        number = min(settings["groups"], n)
        groups = [int(piece[0]) % number for piece in pieces]
        if any((piece % number != group).any() for piece, group in zip(pieces, groups, strict=True)):
            raise WholeArrayNeeded(f"CKA of a large split needs pieces of every {number}th sample")

        def values(left_out: int) -> Floats:
            whole = functools.reduce(CkaMoments.plus, map(CkaMoments.of_state, states))
            assert whole.sums is not None
            assert whole.pilot is not None
            results = [linear_cka(whole.sums, whole.width, estimator)]
            for group in range(left_out):
                members = (CkaMoments.of_state(states[i]) for i, of in enumerate(groups) if of == group)
                part = functools.reduce(CkaMoments.plus, members).moved(whole.pilot)
                kept = whole.without(part).sums
                assert kept is not None
                results.append(linear_cka(kept, whole.width, estimator))
            return torch.stack(results).numpy()

        return _with_interval(n, estimator, number, values)

    def select(self, result: Any, rows: Rows) -> Any:
        raise WholeArrayNeeded("CKA is computed of a whole split, not of a part")

    def memory(self, width: int) -> int:
        return 8 * (2 * width + 3) ** 2

    def stored(self, width: int, rows: int, pieces: int, whole: int, settings: Mapping[str, Any]) -> int:
        return self.memory(width) // 2 * pieces


@mergeable(_MergeMoments())
def _linear(x: Array, y: Array, estimator: Estimator, groups: int) -> Estimate:
    first, second = _paired(x, y)
    n = len(first)
    return _with_interval(n, estimator, groups, lambda left_out: _values(first, second, estimator, left_out))


def rbf_cka_estimate(
    x: Array, y: Array, *, sigma: float | None = None, estimator: Estimator = "unbiased", groups: int = 20
) -> Estimate:
    """Compute CKA of features (N, D) and (N, E) with the kernel exp(-d^2 / (2 sigma^2)); interval as in `cka_estimate`.

    `sigma` is in units of the features, the same for both; None takes the median of the non-zero squared distances as
    sigma^2, for each of the two by itself. It is not estimated again for the interval. Memory: several (N, N) float64.
    Raise ValueError for sigma <= 0, the estimator `batched`, constant features, or too few samples.
    """
    first, second = as_features(x, name="x").double(), as_features(y, name="y").double()
    if len(first) != len(second):
        raise ValueError(f"CKA compares features of the same samples, got {len(first)} and {len(second)} rows")
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"CKA with an RBF kernel is unbiased or biased, not {estimator!r}")
    kernels = [_rbf(rows, sigma) for rows in (first, second.to(first.device))]
    return _with_interval(
        len(first), estimator, groups, lambda left_out: _gram_values(kernels[0], kernels[1], estimator, left_out)
    )


def _rbf(rows: torch.Tensor, sigma: float | None) -> torch.Tensor:
    if sigma is not None and not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    # not from products of rows: equal rows must have a distance of exactly 0, which the median leaves out
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    if sigma is not None:
        return torch.exp(distances / (-2 * sigma**2))
    positive = distances[distances > 0].cpu().numpy()
    if not len(positive):
        raise ValueError("CKA is not defined: the features of one model are constant")
    return torch.exp(distances / (-2 * float(np.median(positive))))


def _with_interval(n: int, estimator: Estimator, groups: int, values_of: Callable[[int], Floats]) -> Estimate:
    """Return the first of the values and the jackknife interval of the rest, each without one group of samples."""
    groups = min(groups, n)
    needed = 4 if estimator == "unbiased" else 2
    if n - -(-n // groups) < needed:
        value = _defined(values_of(0)[0], estimator)
        return Estimate(value, float("nan"), float("nan"), n, f"none: {n} samples are too few to leave any out")
    values = values_of(groups)
    full = _defined(values[0], estimator)
    if np.isnan(values).any():
        return Estimate(full, float("nan"), float("nan"), n, "none: constant features without one group of samples")
    estimate = jackknife(values[1:], full, n)
    return estimate._replace(low=max(-1.0, estimate.low), high=min(1.0, estimate.high))


def _paired(x: Array, y: Array) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = as_features(x, name="x"), as_features(y, name="y")
    if len(first) != len(second):
        raise ValueError(f"CKA compares features of the same samples, got {len(first)} and {len(second)} rows")
    return _in_range(first), _in_range(second).to(first.device)


def _in_range(rows: torch.Tensor) -> torch.Tensor:
    powers = exponents(rows)
    return divided(rows, int(powers.max())) if squares_overflow(powers) else rows


def _values(x: torch.Tensor, y: torch.Tensor, estimator: str, groups: int) -> Floats:
    """Return CKA of all rows, then without each group; NaN where it is not defined."""
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"unknown CKA estimator {estimator!r} (allowed: unbiased, biased, batched)")
    pilot = Pilot.of(x, y)
    if len(x) <= max(x.shape[1], y.shape[1]):
        first, second = pilot.shift(x, y)
        return _gram_values(product(first, first).double(), product(second, second).double(), estimator, groups)
    whole = CkaMoments(pilot).add(x, y)
    left_out: list[torch.Tensor] = []
    values = []
    for group in range(groups + 1):
        kept = (
            whole
            if group == 0
            else whole.without(CkaMoments(pilot).add(x[group - 1 :: groups], y[group - 1 :: groups]))
        )
        assert kept.sums is not None
        left_out.append(kept.sums)
        # narrow features are finished together, wide ones (0.1 GB each at D = 2,048) one by one
        if group == groups or sum(part.numel() for part in left_out) > _FINISHED_TOGETHER:
            values.append(linear_cka(torch.stack(left_out), whole.width, estimator))
            left_out.clear()
    return torch.cat(values).cpu().numpy()


def _gram_values(first: torch.Tensor, second: torch.Tensor, estimator: str, groups: int) -> Floats:
    """Return the same from two kernels (N, N), all groups at once, from sums of rows within each group."""
    n = len(first)
    # column 0 leaves no sample out
    out = torch.zeros(n, groups + 1, dtype=torch.float64, device=first.device)
    if groups:
        out[torch.arange(n), 1 + torch.arange(n) % groups] = 1
    if estimator == "unbiased":
        first, second = first.clone().fill_diagonal_(0), second.clone().fill_diagonal_(0)

    def total(matrix: torch.Tensor) -> torch.Tensor:
        by_group = matrix @ out
        return matrix.sum() - 2 * by_group.sum(0) + (out * by_group).sum(0)

    rows = [kernel.sum(1, keepdim=True) - kernel @ out for kernel in (first, second)]
    totals = [total(first), total(second)]
    kernels = (first, second)

    def sums(a: int, b: int) -> Sums:
        return Sums(total(kernels[a] * kernels[b]), totals[a], totals[b], ((1 - out) * rows[a] * rows[b]).sum(0))

    return ratio(sums(0, 1), sums(0, 0), sums(1, 1), n - out.sum(0), estimator).cpu().numpy()


def _batch_values(x: torch.Tensor, y: torch.Tensor, batch_size: int) -> Floats:
    if batch_size < 2:
        raise ValueError(f"batched CKA needs batches of at least two samples, got {batch_size}")
    if len(x) % batch_size == 1:
        raise ValueError(
            f"the last batch of {batch_size} holds one sample, whose CKA is 0 / 0: choose another batch_size"
        )
    pairs = zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True)
    return np.array([_defined(_values(a, b, "biased", 0)[0], "biased") for a, b in pairs])


def _defined(value: float, estimator: str) -> float:
    if np.isnan(value):
        raise ValueError(
            f"{estimator} CKA is not defined: the features of one model are constant, or too few samples vary"
        )
    return float(value)
