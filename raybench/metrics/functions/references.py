"""Numbers that compare a model with each of N retrained models: their mean, and the gap of a further model.

A value d(i, j) of two retrained models belongs to both of them. The N means over j share these pairs, so they vary less
than the mean of a further model does: without pair effects their standard deviation is (N - 2) / (N - 1) of what it
should be, and with N = 2 both means are the same number. The model is

    d(i, j) = mu + a_i + b_j + e_ij

with effects of the compared model a, of the reference b, and of the pair e; symmetric values have b = a and e_ij =
e_ji. The mean over references of a further model then differs from the mean over all pairs by a random number with
variance (1 + 1/N) (Var(a) + Var(e) / (N - 1)). The least-squares estimates of a (for symmetric values the jackknife of
a U-statistic, Arvesen 1969) have the variance Var(a) + Var(e) / (N - 2): exact without pair effects, otherwise larger.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from raybench.metrics.framework.arrays import Array, Floats, as_array, as_vector
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.statistics import Gap

LEAST = 3  # references: with two, both have the value of their one pair
NAN = float("nan")


def mean_over_references(
    estimates: Sequence[Estimate], *, low: float = -math.inf, high: float = math.inf, confidence: float = 0.95
) -> Estimate:
    """Return the mean of the estimates against each of N retrained models, cut to low..high.

    The interval covers other samples and other retrained models: the half-widths over samples are averaged (all
    references share the samples), and the t interval of the N values is added in squares. One estimate is returned as
    it is: its interval describes the samples only. An interval that is missing for one reference is missing for the
    mean.
    """
    n = len(estimates)
    if n == 1:
        return estimates[0]
    values, lows, highs = (np.array([getattr(e, part) for e in estimates]) for part in ("value", "low", "high"))
    mean = float(values.mean())
    reason = next((e.interval for e in estimates if math.isnan(e.low) or math.isnan(e.high)), None)
    if reason is not None or not math.isfinite(mean):
        return Estimate(mean, NAN, NAN, estimates[0].n, reason or "none: a value is not finite")
    spread = float(stdtrit(n - 1, 0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(n))
    below, above = math.hypot(mean - float(lows.mean()), spread), math.hypot(float(highs.mean()) - mean, spread)
    interval = f"{estimates[0].interval}, and t over {n} retrained"
    return Estimate(mean, max(low, mean - below), min(high, mean + above), estimates[0].n, interval)


def gap_to_pairs(values: Array, pairs: Array, *, confidence: float = 0.95) -> Gap:
    """Compute the mean of `values` (N,) of a model against N retrained models minus that of the pairs among these.

    `pairs` (N, N) holds the value of retrained model i (row) against retrained model j (column); its diagonal is
    ignored. Low and high are the prediction interval of a further retrained model, Student's t with N - 1 degrees of
    freedom; z is in standard deviations of the effects of the retrained models. With normal effects the interval holds
    0 in at least `confidence` of all draws: exactly so without pair effects, and in 97.4, 96.7 and 96.2 % (N = 3, 5 and
    8, at 95 %) where pair effects are all there is.

    With N < 3 low, high and z are NaN and `interval` says why. Raise ValueError for other shapes or values that are not
    finite.
    """
    numbers = as_vector(values, name="values")
    table = _pairs(pairs)
    n = len(table)
    if len(numbers) != n:
        raise ValueError(f"{len(numbers)} values given for {n} retrained models")
    off_diagonal = table[~np.eye(n, dtype=bool)]
    value, center = float(numbers.mean()), float(off_diagonal.mean())
    own_means = (table.sum(axis=1) - table.diagonal()) / (n - 1)
    percentile = 100 * float(np.mean(own_means < value) + np.mean(own_means == value) / 2)
    gap = value - center
    if n < LEAST:
        return Gap(gap, NAN, NAN, NAN, percentile, 1, n, TOO_FEW)
    identical = np.ptp(off_diagonal) == 0
    if identical:
        gap = value - float(off_diagonal[0])
    sd = 0.0 if identical else float(_effects(table).std(ddof=1))
    half_width = float(stdtrit(n - 1, 0.5 + confidence / 2) * sd * np.sqrt(1 + 1 / n))
    z = gap / sd if sd else (0.0 if gap == 0 else NAN)
    interval = "prediction t, jackknife" + (": the retrained models are identical" if identical else "")
    return Gap(gap, gap - half_width, gap + half_width, z, percentile, 1, n, interval)


TOO_FEW = f"none: two retrained models share their one value, at least {LEAST} are needed"


def mean_of_pairs(pairs: Array, *, confidence: float = 0.95) -> Estimate:
    """Return the mean of the values among N retrained models, `pairs` (N, N) as in `gap_to_pairs`, and its interval.

    The interval covers the mean over other retrained models: the jackknife of a U-statistic, Student's t. With N < 3
    low and high are NaN.
    """
    table = _pairs(pairs)
    n = len(table)
    symmetric = (table + table.T) / 2
    mean = float(symmetric[~np.eye(n, dtype=bool)].mean())
    if n < LEAST:
        return Estimate(mean, NAN, NAN, n, TOO_FEW)
    half_width = float(stdtrit(n - 1, 0.5 + confidence / 2) * 2 * _effects(symmetric).std(ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half_width, mean + half_width, n, "jackknife of pairs")


def _pairs(pairs: Array) -> Floats:
    table: Floats = as_array(pairs, name="pairs").copy()
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
        raise ValueError(f"pairs must have shape (N, N) with N >= 2, got {table.shape}")
    np.fill_diagonal(table, 0)
    if not np.isfinite(table).all():
        raise ValueError("pairs contain values that are not finite")
    return table


def _effects(table: Floats) -> Floats:
    """Return the least-squares effect of each row, up to a constant, from (N, N) with a diagonal of zeros, N >= 3."""
    n = len(table)
    effects: Floats = ((n - 1) * table.sum(axis=1) + table.sum(axis=0)) / (n * (n - 2))
    return effects
