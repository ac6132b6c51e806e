"""Residual memory: how much of what the original remembers about the forget set is left in a model, 0 to 1.

Three groups of models are compared by their scaled confidence on the forget samples: the audited model, retrained
models (never trained on them) and originals (trained on all of them). A score per sample says how much the model looks
like an original rather than a retrained model; its mean, rescaled so that retrained models read 0 and originals read 1,
is the residual memory. A model that was trained on a random share of the forget set reads that share in expectation,
whatever the score. Two scores are used, because memory comes in two forms:

- `samples`: the posterior probability that the model was trained on the sample, from the likelihood ratio of the two
  groups at a prior of 2 % (LiRA's ratio, Carlini et al. 2022, with variances shrunk towards their mean). It finds few
  samples that are kept fully.
- `confidence`: the confidence above the retrained mean, weighted by that of the originals and by the inverse variance
  (the slope of a regression through zero). It finds a little memory of every sample.

The residual memory is the reading with the larger lower bound. Its lower bound is the larger of the two (which share
a failure rate of 4 %, 3 and 1), its upper bound the larger of the two upper bounds: at least one of them
covers the true value at 95 %, and both have to stay below a margin before a model counts as having forgotten.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, stdtrit

from raybench.metrics.framework.arrays import Array, Floats, Ints

PRIOR = 0.02  # that a model was trained on a sample; the smaller, the stronger the evidence that a sample needs
LEVELS = {"samples": 0.03, "confidence": 0.01}  # by which the lower bounds may fail: 4 %, so that 5 % are not exceeded
ERROR = 0.05
DENIAL = 0.01  # quantile of the retrained models below which a sample counts as denied; also the level of the test
SHRINKAGE = 16  # pseudo-observations of the mean variance in each sample's variance
TAILS = 7  # degrees of freedom of the densities: few models never show how heavy the tails are
LIMIT = 100.0  # of the scaled confidence: beyond it, a probability of 1 - 1e-44 is rounding
FEWEST = 3  # retrained models: each is scored against the others, whose variance needs two


@dataclass(frozen=True)
class Reading:
    """The residual memory by one score: its value and one-sided 95 % bounds; 0 as retrained, 1 as the original."""

    value: float
    low: float
    high: float
    detectable: float  # the smallest value that is detected, i.e. whose lower bound is above 0


@dataclass(frozen=True)
class ResidualMemory:
    """The residual memory of a model, or of several runs of one method, with one-sided 95 % bounds.

    `exposure` (N,) is the mean posterior probability over the runs that the model was trained on each forget sample.
    `denied` is the share of forget samples of which the model is less confident than 99 % of retrained models would be,
    beyond that share in retrained models; `denied_low` is its one-sided 99 % bound. Above 0, a model denies what it was
    trained on, which retraining does not do.
    """

    value: float
    low: float
    high: float
    detectable: float
    readings: dict[str, Reading]
    exposure: Floats
    denied: float
    denied_low: float


@dataclass(frozen=True)
class _Group:
    """Mean and predictive variance (N,) of the scaled confidence of a group of models."""

    mean: Floats
    variance: Floats


Score = Callable[[Floats, _Group, _Group], Floats]


def scaled_confidence(losses: Array) -> Floats:
    """Convert cross-entropies in nats to log(p / (1 - p)) of p = exp(-loss), limited to +-100.

    With multi-label data, where the loss is a mean over labels, p is the geometric mean of their probabilities.
    """
    values = np.maximum(np.asarray(losses, dtype=np.float64), np.finfo(float).tiny)
    small = values < 30  # above, exp(loss) - 1 and exp(loss) agree, and the latter may overflow
    odds = np.where(small, -np.log(np.expm1(np.where(small, values, 1.0))), -values)
    return np.asarray(np.clip(odds, -LIMIT, LIMIT))


def residual_memory(
    runs: Floats,
    retrained: Floats,
    originals: Floats,
    *,
    starts: Sequence[int] | None = None,
    units: Ints | None = None,
) -> ResidualMemory:
    """Compute the residual memory of `runs` from scaled confidences on the forget samples.

    `runs` (K, N): the audited models of one method; `retrained` (R, N), R >= 3; `originals` (O, N). `starts` (K,) holds
    the original that each run started from, -1 for none: with several originals, a run is never compared with its own,
    whose noise it shares. `units` (N,) are codes of samples that are remembered or forgotten together (identities).

    Raise ValueError for too few retrained models, and where originals do not differ from retrained models: then nothing
    can be measured.
    """
    runs, retrained, originals = (np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in (runs, retrained, originals))
    if len(retrained) < FEWEST:
        raise ValueError(f"residual memory needs at least {FEWEST} retrained models, got {len(retrained)}")
    for name, values in (("model", runs), ("retrained models", retrained), ("originals", originals)):
        if not np.isfinite(values).all():
            raise ValueError(f"the confidence of the {name} is not finite on every forget sample")
    starts = [-1] * len(runs) if starts is None else list(starts)
    codes = np.arange(runs.shape[1]) if units is None else np.unique(units, return_inverse=True)[1].reshape(-1)
    memory = {
        name: _reading(score, LEVELS[name], runs, retrained, originals, starts, codes)
        for name, score in (("samples", _posterior), ("confidence", _excess))
    }
    best = max(memory.values(), key=lambda reading: reading.low)
    exposure = np.mean(
        [PRIOR + PRIOR * (1 - PRIOR) * row for row in _rows(_posterior, runs, retrained, originals, starts)], axis=0
    )
    return ResidualMemory(
        best.value,
        min(best.low, 1.0),  # no model remembers more than all, or less than nothing
        max(0.0, *(reading.high for reading in memory.values())),
        min(reading.detectable for reading in memory.values()),
        memory,
        exposure,
        *_denied(runs, retrained),
    )


def _denied(runs: Floats, retrained: Floats) -> tuple[float, float]:
    """Return the excess share of samples below the 1 % quantile of the retrained models, and its lower bound."""

    def below(values: Floats, group: _Group) -> Floats:
        return np.asarray((values - group.mean) / np.sqrt(group.variance) < stdtrit(TAILS, DENIAL), dtype=float)

    reference = _group(retrained)
    zero = np.stack([below(row, _group(np.delete(retrained, i, 0))) for i, row in enumerate(retrained)])
    shares = np.stack([below(run, reference) for run in runs]).mean(axis=1)
    size = zero.shape[1]
    one_sample = 0.5 / len(zero) / size**2  # of a rate that no retrained model shows
    variance = _variance(zero, size) + one_sample
    run = max(variance, float(shares.var(ddof=1)) if len(shares) > 1 else 0.0)
    value = float(shares.mean() - zero.mean())
    t = float(stdtrit(2 * (len(zero) - 1), 1 - DENIAL))
    return value, value - t * math.sqrt(run / len(shares) + variance / len(zero))


def _rows(score: Score, runs: Floats, retrained: Floats, originals: Floats, starts: Sequence[int]) -> Floats:
    """Score runs (K, N), each against the originals other than its own."""
    reference = _group(retrained)
    return np.stack([score(run, reference, _group(_without(originals, own))) for run, own in zip(runs, starts)])


def _reading(
    score: Score,
    level: float,
    runs: Floats,
    retrained: Floats,
    originals: Floats,
    starts: Sequence[int],
    codes: Ints,
) -> Reading:
    def by_unit(rows: Floats) -> Floats:
        return np.stack([np.bincount(codes, weights=row) for row in rows])

    reference = _group(originals)
    zero = by_unit(np.stack([score(r, _group(np.delete(retrained, i, 0)), reference) for i, r in enumerate(retrained)]))
    one = by_unit(_rows(score, originals, retrained, originals, range(len(originals))))
    audited = by_unit(_rows(score, runs, retrained, originals, starts)).sum(axis=1)
    scale = one.sum(axis=1).mean() - zero.sum(axis=1).mean()
    if not scale > 0:
        raise ValueError("the original is not more confident of the forget samples than retrained models are")
    values = (audited - zero.sum(axis=1).mean()) / scale
    steps = np.maximum(one.mean(axis=0) - zero.mean(axis=0), 0)
    units = steps.sum() ** 2 / (steps**2).sum()  # effective number of units that carry the difference
    noise = _Noise(
        _variance(zero, scale) + 0.5 / len(zero) / units**2,
        max(_variances(one, scale)) if len(one) > 2 else _variance(zero, scale),  # few originals: the larger one
        float(units),
        len(runs),
        float(values.var(ddof=1)) if len(runs) > 1 else 0.0,
        len(retrained),
        len(originals),
    )
    value = float(values.mean())
    degrees = 2 * (len(retrained) - 1)
    lower, upper = (float(stdtrit(degrees, 1 - error)) for error in (level, ERROR))
    return Reading(value, noise.bound(value, -lower), noise.bound(value, upper), lower * noise.sd(0.0))


@dataclass(frozen=True)
class _Noise:
    """The variance of a reading if the true residual memory is `share`."""

    zero: float  # variance between retrained models
    one: float  # variance between originals
    units: float
    runs: int
    between_runs: float
    retrained: int
    originals: int

    def sd(self, share: float) -> float:
        share = min(max(share, 0.0), 1.0)
        # which units are kept is random for a share strictly between 0 and 1
        run = (1 - share) * self.zero + share * self.one + share * (1 - share) / self.units
        ends = (1 - share) ** 2 * self.zero / self.retrained + share**2 * self.one / self.originals
        return math.sqrt(max(run, self.between_runs) / self.runs + ends)

    def bound(self, value: float, t: float) -> float:
        """Return the share from which `value` lies -t standard deviations away."""
        inside, outside = value, value + math.copysign(10.0 + 10 * abs(value), t)
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if abs(middle - value) < abs(t) * self.sd(middle) else (inside, middle)
        return outside


def _variance(rows: Floats, scale: float) -> float:
    """Estimate the variance between models of the sum of `rows` (models, units), as a share of `scale`."""
    return sum(_variances(rows, scale)) / 2


def _variances(rows: Floats, scale: float) -> tuple[float, float]:
    """Return two estimates of that variance.

    One is from the sums, which include what units have in common but are few; one from the units as if they were
    independent.
    """
    sums, independent = rows.sum(axis=1).var(ddof=1), rows.var(axis=0, ddof=1).sum()
    return float(sums) / scale**2, float(independent) / scale**2


def _group(values: Floats) -> _Group:
    """Return mean and predictive variance of a further model; the variances are shrunk towards their mean."""
    n = len(values)
    variance = values.var(axis=0, ddof=1) if n > 1 else np.zeros(values.shape[1])
    shrunk = ((n - 1) * variance + SHRINKAGE * variance.mean()) / (n - 1 + SHRINKAGE)
    return _Group(values.mean(axis=0), shrunk * (1 + 1 / n))


def _without(originals: Floats, own: int) -> Floats:
    return np.delete(originals, own, 0) if own >= 0 and len(originals) > 1 else originals


def _posterior(values: Floats, retrained: _Group, originals: _Group) -> Floats:
    """Return the posterior probability of membership (N,), as an affine function that is 0 without evidence."""
    low, high = retrained.mean, np.maximum(originals.mean, retrained.mean)
    variance = originals.variance if originals.variance.any() else retrained.variance  # one original shows none
    values = np.clip(values, low, high)  # more confident than the originals is as the originals, and vice versa
    log_ratio = _log_density(values, high, variance) - _log_density(values, low, retrained.variance)
    posterior = expit(log_ratio + math.log(PRIOR / (1 - PRIOR)))
    return np.asarray((posterior - PRIOR) / (PRIOR * (1 - PRIOR)))


def _log_density(values: Floats, mean: Floats, variance: Floats) -> Floats:
    """Return the log-density of t distributions, up to a constant."""
    variance = np.maximum(variance, np.finfo(float).tiny)
    return np.asarray(-(TAILS + 1) / 2 * np.log1p((values - mean) ** 2 / variance / TAILS) - np.log(variance) / 2)


def _excess(values: Floats, retrained: _Group, originals: _Group) -> Floats:
    weights = np.maximum(originals.mean - retrained.mean, 0) / np.maximum(retrained.variance, np.finfo(float).tiny)
    return np.asarray(weights * (values - retrained.mean))
