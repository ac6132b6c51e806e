"""What a number means: the gap to the retrained models, tests and ranks across seeds.

The reference is the distribution of N retrained models, never one of them. Several claims at once (one for each sample
or method) need `holm`: among 1,000 samples at the 5 % level, 50 are "significant" by chance.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, gammaincinv, nctdtrinc, ndtr, stdtr, stdtrit

from raybench.metrics.framework.arrays import Array, Floats, Ints, as_array, as_vector
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.intervals import (
    mean_interval,
)

NAN = float("nan")


@dataclass(frozen=True)
class Gap:
    """The signed difference of a metric from the retrained models; `interval` names its method, or why it is NaN."""

    gap: float
    low: float
    high: float
    z: float  # in standard deviations of the retrained models
    percentile: float  # percentage of retrained models below the value; a tie counts half
    n: int
    n_reference: int
    interval: str


@dataclass(frozen=True)
class PairedTest:
    """Mean difference over paired seeds, with its t interval, and two-sided p-values."""

    difference: Estimate
    p_t: float
    p_permutation: float


@dataclass(frozen=True)
class RankInterval:
    """Rank by the mean (1 = best, ties share the average) and the ranks that the seeds do not rule out."""

    rank: float
    low: int
    high: int


def gap_to_reference(values: Array, reference_values: Array, *, confidence: float = 0.95) -> Gap:
    """Compute mean(values) - mean(reference_values) with its interval.

    `values` is one number or m numbers (seeds of one method), `reference_values` holds N retrained models.

    - One value: the prediction interval of another retrained model, t(N-1) sd sqrt(1 + 1/N).
    - m >= 2: the interval of Welch, because unlearned seeds that share an original vary less than retrained models. It
      holds for that original: over originals, 5 seeds with half the standard deviation cover 75 %.
    - N = 1: gap and percentile only; the spread of the reference is unknown, so low, high and z are NaN.

    Where all retrained models agree exactly they add no width to the interval, z is 0 for no gap and otherwise NaN, and
    `interval` says so.
    """
    numbers, reference = as_vector(values, name="values"), as_vector(reference_values, name="reference_values")
    m, n = len(numbers), len(reference)
    value = float(numbers.mean())
    gap = value - float(reference.mean())
    percentile = 100 * float(np.mean(reference < value) + np.mean(reference == value) / 2)
    if n == 1:
        return Gap(gap, NAN, NAN, NAN, percentile, m, n, "none: one retrained model")
    sd = float(reference.std(ddof=1))
    if np.ptp(reference) == 0:
        sd, gap = 0.0, value - float(reference[0])
    variance, reference_variance = (float(numbers.var(ddof=1)) / m if m > 1 else sd**2), sd**2 / n
    if m == 1:
        error, freedom, interval = np.sqrt(variance + reference_variance), n - 1.0, "prediction t"
    else:
        freedom = _welch_freedom(variance, reference_variance, m, n)
        error, interval = np.sqrt(variance + reference_variance), "welch t"
    if sd == 0:
        interval += ": the retrained models are identical"
    half_width = float(stdtrit(freedom, 0.5 + confidence / 2) * error)
    z = gap / sd if sd else (0.0 if gap == 0 else NAN)
    return Gap(gap, gap - half_width, gap + half_width, z, percentile, m, n, interval)


def paired_test(first: Array, second: Array, *, confidence: float = 0.95, seed: int = 0) -> PairedTest:
    """Test mean(first - second) = 0 over m >= 2 paired seeds: paired t, and sign flips that assume symmetry only.

    Up to m = 14 all sign flips are evaluated (the smallest possible p is 2 / 2^m: five pairs cannot reach 0.05); above
    that 20,000 are drawn with `seed`.
    """
    differences = _paired_differences(first, second)
    m = len(differences)
    observed = abs(differences.sum())
    if m <= 14:
        signs = 1 - 2 * ((np.arange(2 ** (m - 1))[:, None] >> np.arange(m)) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1, 1], size=(20_000, m))
        signs[0] = 1
    flipped = np.abs(signs @ differences)
    p_permutation = float(np.mean(flipped >= observed * (1 - 1e-12)))
    return PairedTest(mean_interval(differences, confidence=confidence), _paired_p(differences), p_permutation)


def rank_intervals(
    values: Array, *, best: Literal["lowest", "highest"] = "lowest", confidence: float = 0.95
) -> list[RankInterval]:
    """Compute rank and rank interval of K methods from `values` (K, seeds), columns paired by seed.

    A method ranks behind those that are significantly better, and ahead of those that are significantly worse, in
    paired t tests with Holm's correction over all pairs; so all intervals hold together with `confidence`. One seed
    rules nothing out: 1..K. Reference: Mogstad, Romano, Shaikh and Wilhelm 2024.
    """
    table = as_array(values, finite=True)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"values must have shape (methods, seeds), got {table.shape}")
    signed = table if best == "lowest" else -table
    count, seeds = signed.shape
    means = signed.mean(axis=1)
    ranks = (means[None, :] < means[:, None]).sum(axis=1) + ((means[None, :] == means[:, None]).sum(axis=1) + 1) / 2
    beats = np.zeros((count, count), dtype=bool)
    if seeds > 1 and count > 1:
        first, second = np.triu_indices(count, k=1)
        p = holm([_paired_p(signed[i] - signed[j]) for i, j in zip(first, second)])
        significant = p < 1 - confidence
        beats[first, second] = significant & (means[first] < means[second])
        beats[second, first] = significant & (means[first] > means[second])
    worse, better = beats.sum(axis=1), beats.sum(axis=0)
    return [RankInterval(float(ranks[i]), 1 + int(better[i]), count - int(worse[i])) for i in range(count)]


def minimum_detectable_difference(
    sd: float,
    *,
    n_reference: int,
    n: int = 1,
    sd_values: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Compute the smallest true gap that `gap_to_reference` finds at `alpha` with `power`, for n values.

    `sd` is the standard deviation of the n_reference retrained models in the unit of the metric, `sd_values` that of
    the n >= 2 values (default: the same; seeds that share an original vary less). A "not significant" result is no
    evidence that gaps smaller than this are absent. Exact for normal values: for n = 1 the shift of the noncentral t
    distribution, for more the power of Welch's test, whose degrees of freedom depend on the data.
    """
    if n < 1 or n_reference < 2 or not sd >= 0:
        raise ValueError(
            f"n must be at least 1, n_reference at least 2 and sd at least 0, got {n}, {n_reference} and {sd}"
        )
    if sd_values is not None and (n == 1 or not sd_values >= 0):
        raise ValueError(f"sd_values needs n >= 2 and must be at least 0, got {sd_values} with n = {n}")
    freedom = n + n_reference - 2
    if n == 1:
        # the sum of two t quantiles is smaller: at a level of 0.05 / 7 and 2 retrained models its power is 69 %
        shift = nctdtrinc(freedom, 1 - power, stdtrit(freedom, 1 - alpha / 2))
        return float(shift * sd * np.sqrt(1 + 1 / n_reference))
    own = sd if sd_values is None else sd_values
    error = math.hypot(own / math.sqrt(n), sd / math.sqrt(n_reference))
    if error == 0:
        return 0.0
    high = 4.0
    while _welch_power(high, own, sd, n, n_reference, alpha) < power:
        high *= 2
    shift = brentq(lambda x: _welch_power(x, own, sd, n, n_reference, alpha) - power, 0, high, xtol=1e-6)
    return float(shift * error)


def _welch_power(shift: float, sd: float, sd_reference: float, m: int, n: int, alpha: float) -> float:
    """Return the power of Welch's test of m against n normal values, for a gap of `shift` true standard errors.

    Given the part B ~ Beta((m - 1) / 2, (n - 1) / 2) of the sum of squares W ~ chi-squared that is due to the first
    sample, the critical value is known and the mean is normal; B and W are independent. The mean over both is
    Gauss-Legendre quadrature over their quantiles.
    """
    nodes, weights = np.polynomial.legendre.leggauss(100)
    quantiles = (nodes + 1) / 2
    part = np.clip(betaincinv((m - 1) / 2, (n - 1) / 2, quantiles), 1e-300, 1 - 1e-15)
    squares = 2 * gammaincinv((m + n - 2) / 2, quantiles)
    first, second = sd**2 * part / (m * (m - 1)), sd_reference**2 * (1 - part) / (n * (n - 1))
    freedom = (first + second) ** 2 / (first**2 / (m - 1) + second**2 / (n - 1))
    error = np.sqrt((first + second) / (sd**2 / m + sd_reference**2 / n) * squares[:, None])
    cut = stdtrit(freedom, 1 - alpha / 2) * error
    rejected = ndtr(shift - cut) + ndtr(-shift - cut)
    return float(weights @ rejected @ weights / 4)


def holm(p_values: Array) -> Floats:
    """Adjust p-values (k,) for the family-wise error of k claims; never larger than by Bonferroni (Holm 1979)."""
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(np.minimum(p[order] * (len(p) - np.arange(len(p))), 1.0))
    return _unsort(adjusted, order)


def _welch_freedom(first: float, second: float, m: int, n: int) -> float:
    total = first + second
    if total == 0:
        return float(m + n - 2)
    return total**2 / (first**2 / (m - 1) + second**2 / (n - 1))


def _paired_differences(first: Array, second: Array) -> Floats:
    a, b = as_vector(first, name="first"), as_vector(second, name="second")
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"a paired test needs at least two pairs of seeds, got {len(a)} and {len(b)} values")
    differences: Floats = a - b
    return differences


def _paired_p(differences: Floats) -> float:
    mean, sd = differences.mean(), differences.std(ddof=1)
    if sd <= 1e-12 * abs(mean):
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(len(differences) - 1, -abs(mean) / sd * np.sqrt(len(differences))))


def _p_values(p_values: Array) -> Floats:
    p = as_vector(p_values, name="p_values")
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"p-values must lie in 0..1, got {p.min()}..{p.max()}")
    return p


def _unsort(adjusted: Floats, order: Ints) -> Floats:
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result
