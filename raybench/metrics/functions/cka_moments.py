"""The sums behind linear CKA: batches add up, and any part can be subtracted again.

All sums are entries of one symmetric matrix Z'Z with Z = [X, Y, |x|^2, |y|^2, 1], so adding a batch is a single product
and leaving samples out is a subtraction. The unbiased estimator needs nothing else.
"""

from typing import NamedTuple

import numpy as np
import torch

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.streaming import State
from raybench.metrics.framework.tensors import as_features, product

_BLOCK = 2048  # rows per product: 256 rows reach 57 GFLOP/s, 1024 and more 83, as each block adds a whole matrix
_PILOT_ROWS = 1024


class Sums(NamedTuple):
    """Sums over two kernels k, l of any shape, one entry for each CKA; unbiased HSIC sets the diagonals to 0."""

    product: torch.Tensor  # sum_ij k_ij l_ij
    first: torch.Tensor  # sum_ij k_ij
    second: torch.Tensor  # sum_ij l_ij
    rows: torch.Tensor  # sum_i (sum_j k_ij) (sum_j l_ij)


def ratio(both: Sums, first: Sums, second: Sums, n: torch.Tensor, estimator: str) -> torch.Tensor:
    """Compute HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)); NaN where the HSIC of a side with itself is not positive."""
    if estimator == "unbiased" and bool((n < 4).any()):
        raise ValueError("unbiased CKA needs at least 4 samples")
    if bool((n < 2).any()):
        raise ValueError("CKA needs at least 2 samples")
    cross, first_self, second_self = (_hsic(sums, n, estimator) for sums in (both, first, second))
    # below 1e-12 of its largest term, an HSIC is the rounding of constant features
    positive = (first_self > 1e-12 * first.product.abs()) & (second_self > 1e-12 * second.product.abs())
    scale = torch.where(positive, first_self * second_self, torch.ones_like(first_self)).sqrt()
    return torch.where(positive, cross / scale, torch.nan)


class Pilot(NamedTuple):
    """A fixed shift and scale of each side.

    CKA ignores both, but float32 products do not (error 3e-4 at mean / sd of 100). Sums that are to be subtracted from
    each other must share one pilot.
    """

    mean_x: torch.Tensor
    mean_y: torch.Tensor
    scale_x: float
    scale_y: float

    @staticmethod
    def of(x: Array, y: Array) -> "Pilot":
        """Return the mean and root mean square deviation of the first 1,024 rows of each side."""
        (mean_x, scale_x), (mean_y, scale_y) = _center(as_features(x, name="x")), _center(as_features(y, name="y"))
        return Pilot(mean_x, mean_y, scale_x, scale_y)

    def shift(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both sides centered and scaled, in their own precision."""
        return (x - self.mean_x.to(x)) * (1 / self.scale_x), (y - self.mean_y.to(y)) * (1 / self.scale_y)


class CkaMoments:
    """Sums over samples that determine linear CKA exactly."""

    def __init__(self, pilot: Pilot | None = None) -> None:
        self.pilot = pilot  # None: taken from the first batch
        self.sums: torch.Tensor | None = None  # Z'Z, float64
        self.width = (0, 0)

    def add(self, x: Array, y: Array) -> "CkaMoments":
        """Add features (N, D) and (N, E) of the same samples in place, and return the object itself."""
        first, second = as_features(x, name="x"), as_features(y, name="y")
        if len(first) != len(second):
            raise ValueError(f"CKA compares features of the same samples, got {len(first)} and {len(second)} rows")
        width = (first.shape[1], second.shape[1])
        if self.sums is not None and width != self.width:
            raise ValueError(f"features have widths {width}, earlier batches had {self.width}")
        self.width = width
        self.pilot = self.pilot or Pilot.of(first, second)
        for rows, other_rows in zip(torch.split(first, _BLOCK), torch.split(second.to(first), _BLOCK), strict=True):
            columns = _columns(rows, other_rows, self.pilot).T
            added = product(columns, columns)
            self.sums = added.double() if self.sums is None else self.sums.add_(added)
        return self

    def without(self, part: "CkaMoments") -> "CkaMoments":
        """Return these sums without those of `part`, which must have been added to them with the same pilot."""
        if self.sums is None or part.sums is None:
            raise ValueError("no features were added to one of the two")
        result = CkaMoments(self.pilot)
        result.width = self.width
        result.sums = torch.sub(self.sums, part.sums)
        return result

    def moved(self, pilot: Pilot) -> "CkaMoments":
        """Return the same sums about another pilot, so that pieces with pilots of their own can be added up."""
        assert self.sums is not None
        assert self.pilot is not None
        sums, (dx, dy) = self.sums.clone(), self.width
        sides = (
            (slice(0, dx), -3, self.pilot.mean_x, pilot.mean_x, self.pilot.scale_x, pilot.scale_x),
            (slice(dx, dx + dy), -2, self.pilot.mean_y, pilot.mean_y, self.pilot.scale_y, pilot.scale_y),
        )
        for _ in range(2):  # Z' = Z A, so Z''Z' = A' (Z'Z) A: A' from the left, then the same on the transpose
            for part, norm, mean, new_mean, scale, new_scale in sides:
                factor, shift = scale / new_scale, ((mean.double() - new_mean.double()) / new_scale).to(sums)
                norms = factor**2 * sums[norm] + 2 * factor * (shift @ sums[part]) + shift.square().sum() * sums[-1]
                sums[part] = factor * sums[part] + shift[:, None] * sums[-1]
                sums[norm] = norms
            sums = sums.T.contiguous()
        result = CkaMoments(pilot)
        result.width, result.sums = self.width, sums
        return result

    def plus(self, part: "CkaMoments") -> "CkaMoments":
        """Return the sums of both, about the pilot of this one."""
        assert self.sums is not None
        assert self.pilot is not None
        other = part.moved(self.pilot)
        assert other.sums is not None
        result = CkaMoments(self.pilot)
        result.width, result.sums = self.width, self.sums + other.sums.to(self.sums)
        return result

    def state(self) -> State:
        """Return the sums as arrays; of the symmetric matrix only one half."""
        assert self.sums is not None
        assert self.pilot is not None
        half = self.sums[tuple(torch.triu_indices(len(self.sums), len(self.sums)))]
        mean_x, mean_y, scale_x, scale_y = self.pilot
        return {
            "sums": half.cpu().numpy(),
            "mean_x": mean_x.cpu().numpy(),
            "mean_y": mean_y.cpu().numpy(),
            "scales": np.array([scale_x, scale_y]),
        }

    @staticmethod
    def of_state(state: State) -> "CkaMoments":
        """Return the moments that `state` described."""
        mean_x, mean_y = (torch.from_numpy(np.array(state[name])) for name in ("mean_x", "mean_y"))
        moments = CkaMoments(Pilot(mean_x, mean_y, *map(float, state["scales"])))
        moments.width = (len(mean_x), len(mean_y))
        size = sum(moments.width) + 3
        rows, columns = torch.triu_indices(size, size)
        moments.sums = torch.empty(size, size, dtype=torch.float64)
        half = torch.from_numpy(np.array(state["sums"]))
        moments.sums[rows, columns] = half
        moments.sums[columns, rows] = half
        return moments


def linear_cka(sums: torch.Tensor, width: tuple[int, int], estimator: str) -> torch.Tensor:
    """Compute CKA (...) from one or many matrices Z'Z (..., W, W); NaN where it is not defined."""
    x, y = (slice(0, width[0]), -3), (slice(width[0], sum(width)), -2)
    cross, first, second = (_kernel_sums(sums, *sides, estimator) for sides in ((x, y), (x, x), (y, y)))
    return ratio(cross, first, second, sums[..., -1, -1], estimator)


def _kernel_sums(s: torch.Tensor, side: tuple[slice, int], other: tuple[slice, int], estimator: str) -> Sums:
    (u, u_norm), (v, v_norm) = side, other
    cross, u_sum, v_sum = s[..., u, v], s[..., u, -1], s[..., v, -1]
    product = cross.square().sum((-2, -1))
    first, second = u_sum.square().sum(-1), v_sum.square().sum(-1)
    rows = ((u_sum[..., None, :] @ cross)[..., 0, :] * v_sum).sum(-1)
    if estimator == "biased":
        return Sums(product, first, second, rows)
    diagonal = s[..., u_norm, v_norm]
    rows = rows - (u_sum * s[..., u, v_norm]).sum(-1) - (v_sum * s[..., v, u_norm]).sum(-1) + diagonal
    return Sums(product - diagonal, first - s[..., u_norm, -1], second - s[..., v_norm, -1], rows)


def _hsic(sums: Sums, n: torch.Tensor, estimator: str) -> torch.Tensor:
    """Return HSIC up to a factor that depends on n only and cancels in CKA."""
    if estimator == "biased":
        return sums.product - 2 * sums.rows / n + sums.first * sums.second / n**2
    return sums.product + sums.first * sums.second / ((n - 1) * (n - 2)) - 2 * sums.rows / (n - 2)


def _center(rows: torch.Tensor) -> tuple[torch.Tensor, float]:
    pilot = rows[:_PILOT_ROWS].double()
    mean = pilot.mean(0).to(rows.dtype)
    deviation = float((rows[:_PILOT_ROWS] - mean).double().square().mean().sqrt())
    largest = float(mean.abs().max())
    # scaling must not turn the rounding error of constant features into features
    return mean, deviation if deviation > 1e-12 * largest else max(largest, 1.0)


def _columns(x: torch.Tensor, y: torch.Tensor, pilot: Pilot) -> torch.Tensor:
    """Return [X, Y, |x|^2, |y|^2, 1] (rows, D + E + 3), written once into one buffer."""
    columns = x.new_empty((len(x), x.shape[1] + y.shape[1] + 3))
    for number, (rows, part, mean, scale) in enumerate(
        (
            (x, columns[:, : x.shape[1]], pilot.mean_x, pilot.scale_x),
            (y, columns[:, x.shape[1] : -3], pilot.mean_y, pilot.scale_y),
        )
    ):
        torch.sub(rows, mean.to(rows), out=part).mul_(1 / scale)
        columns[:, number - 3] = part.square().sum(1)
    columns[:, -1] = 1
    return columns
