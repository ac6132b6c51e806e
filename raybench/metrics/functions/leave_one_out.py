"""Normals fitted to all models but one, for every model and sample in turn, in closed form.

n values with mean m and sum of squares Q around it become, without x, the mean m - (x - m) / (n - 1) and the sum Q - (x
- m)^2 n / (n - 1), so all targets cost as much as one. Sums are of values centered sample by sample, in blocks of
samples that stay in cache.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from raybench.metrics.framework.arrays import Bools, Floats, Ints

Mode = Literal["online", "offline"]
Variance = Literal["per_example", "global"]
_BLOCK_ELEMENTS = 1 << 15  # 256 KB of float64: about six such arrays exist at a time


class _Side(NamedTuple):
    """The models on one side of each sample: their number, mean and sum of squares around it, (S,)."""

    size: Ints
    mean: Floats
    squares: Floats


_Pooled = tuple[Floats, Floats]  # variances (models, 1), of trained models and of the others


def left_out_scores(x: Floats, trained: Bools, mode: Mode, variance: Variance) -> Floats:
    """Return the scores (models, samples) of every model, each left out of the models that it is compared with."""
    check_mode(mode)
    if variance not in ("per_example", "global"):
        raise ValueError(f"unknown variance {variance!r} (allowed: per_example, global)")
    least = 3 if variance == "per_example" else 2
    count = trained.sum(axis=0)
    need(len(x) - count, least, "not trained on it")
    if mode == "online":
        need(count, least, "trained on it")
    blocks = list(_blocks(x.shape))
    pooled = _pooled(x, trained, blocks, mode) if variance == "global" else None
    scores = np.empty(x.shape)
    for b in blocks:
        moments = _moments(x[:, b], trained[:, b])
        scores[:, b] = _log_ratio(moments, pooled) if mode == "online" else _distance_above(moments, pooled)
    return scores


def check_mode(mode: str) -> None:
    """Raise ValueError for an unknown mode."""
    if mode not in ("online", "offline"):
        raise ValueError(f"unknown mode {mode!r} (allowed: online, offline)")


def need(count: Ints, least: int, side: str) -> None:
    """Raise ValueError for samples with fewer than `least` models on a side."""
    if count.min() < least:
        raise ValueError(
            f"sample {int(count.argmin())} has {int(count.min())} models {side}: at least {least} are needed, the "
            "target excluded"
        )


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    step = max(16, _BLOCK_ELEMENTS // shape[0])
    for start in range(0, shape[1], step):
        yield slice(start, start + step)


class _Moments(NamedTuple):
    """A block of samples: entries minus the mean of their own side, and the statistics of both sides."""

    centered: Floats  # (models, b)
    squared: Floats  # (models, b)
    trained: Floats  # (models, b) 1 where the model was trained on the sample, else 0
    others: Floats  # (models, b) 1 - trained
    into: _Side
    out: _Side
    floor: Floats  # (b,) the smallest variance to divide by

    def pick(self, of_trained: Floats | float, of_others: Floats | float) -> Floats:
        """Return the value of each entry's side; np.where branches on random masks and takes five times as long."""
        picked = self.trained * of_trained
        picked += self.others * of_others
        return picked


def _moments(x: Floats, member: Bools) -> _Moments:
    trained = member.astype(np.float64)
    others = 1 - trained
    x = x - x.mean(axis=0)
    counts = trained.sum(axis=0), others.sum(axis=0)
    # offline, a sample may have no model trained on it: its mean is unused, but must be a number
    means = [np.einsum("ij,ij->j", on, x) / np.maximum(n, 1) for on, n in zip((trained, others), counts)]
    centered = x - trained * means[0]
    centered -= others * means[1]
    squared = centered * centered
    sums = [np.einsum("ij,ij->j", on, squared) for on in (trained, others)]
    # models that agree exactly would make any distance infinite
    floor = np.maximum(1e-12, 1e-6 * (sums[0] + sums[1]) / len(x))
    into, out = (_Side(*parts) for parts in zip(counts, means, sums))
    return _Moments(centered, squared, trained, others, into, out, floor)


def _log_ratio(moments: _Moments, pooled: _Pooled | None) -> Floats:
    """Return ln of the density under trained models over that under the others, the target itself left out."""
    into, out = moments.into, moments.out
    far = moments.pick(into.mean - out.mean, out.mean - into.mean)
    far += moments.centered
    far *= far
    if pooled is None:
        variance = _left_out_variance(moments)
        whole_in, whole_out = (np.maximum(side.squares / (side.size - 1), moments.floor) for side in (into, out))
        far *= moments.pick(1 / whole_out, 1 / whole_in)
    else:
        whole_in, whole_out = pooled
        variance = moments.pick(whole_in, whole_out)
        far /= moments.pick(whole_out, whole_in)
    far += moments.pick(np.log(whole_out), np.log(whole_in))
    near = moments.pick((into.size / (into.size - 1)) ** 2, (out.size / (out.size - 1)) ** 2)
    near *= moments.squared
    near /= variance
    near += np.log(variance, out=variance)
    far -= near
    far *= moments.trained - 0.5
    return far


def _distance_above(moments: _Moments, pooled: _Pooled | None) -> Floats:
    """Return how many standard deviations of the others the target lies above their mean."""
    into, out = moments.into, moments.out
    distance = moments.centered * moments.pick(1.0, out.size / (out.size - 1))
    distance += moments.trained * (into.mean - out.mean)
    if pooled is not None:
        return distance / np.sqrt(pooled[1])
    whole = np.maximum(out.squares / (out.size - 1), moments.floor)
    variance = moments.trained * whole
    variance += moments.others * _left_out_variance(moments)
    return distance / np.sqrt(variance)


def _left_out_variance(moments: _Moments) -> Floats:
    freedom = [np.maximum(side.size - 2, 1) for side in (moments.into, moments.out)]
    weights = [side.size / (np.maximum(side.size - 1, 1) * f) for side, f in zip((moments.into, moments.out), freedom)]
    variance = moments.pick(moments.into.squares / freedom[0], moments.out.squares / freedom[1])
    variance -= moments.squared * moments.pick(*weights)
    return np.maximum(variance, moments.floor, out=variance)


def _pooled(x: Floats, trained: Bools, blocks: list[slice], mode: str) -> _Pooled:
    """Return for each target (models, 1) the pooled variance within samples, of trained models and of the others.

    A model that is trained on a sample removes nothing from the sum of the others there, and vice versa.
    """
    squares, freedom = np.zeros((2, len(x))), np.zeros((2, len(x)))
    for b in blocks:
        moments = _moments(x[:, b], trained[:, b])
        for i, (side, on_side) in enumerate(((moments.into, moments.trained), (moments.out, moments.others))):
            if i == 0 and mode == "offline":
                continue
            removed = (on_side * moments.squared) @ (side.size / (side.size - 1))
            squares[i] += side.squares.sum() - removed
            freedom[i] += (side.size - 1).sum() - on_side.sum(axis=1)
    if mode == "offline":
        squares[0], freedom[0] = squares[1], freedom[1]
    if freedom.min() < 1:
        raise ValueError("too few models to pool a variance over")
    variance = np.maximum(squares / freedom, 1e-12)
    return variance[0][:, None], variance[1][:, None]
