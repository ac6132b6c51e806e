"""Epsilon of "Forget with Precision" and of the NeurIPS 2023 competition, for populations of models.

It measures how well many unlearned models are distinguishable from many retrained ones by their output on one sample. U
is (epsilon, delta)-unlearning if P[retrained in E] <= e^epsilon P[unlearned in E] + delta for every event E, and with
sides exchanged. The error rates of an attack bound epsilon from below. To interpret any value:

- With N = M = 80 and delta = 0.05 no finite value exceeds ln 75 = 4.32 (`ceiling`).
- The best threshold is searched on the data that it is scored on, so two halves of the retrained models have a median
  of 0.88 at 40 models per side and 0.51 at 80. Compare with the value of retrained models at the same number of models.
- Such counts can prove at most 3.00 at 80 models per side (`certified_lower_bound`).

Results are in the order of the samples (the released code reorders them).
"""

import math
from typing import Literal, NamedTuple, get_args

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, Ints, as_array, as_vector
from raybench.metrics.functions.gaussian_epsilon import gaussian
from raybench.metrics.functions.model_signals import as_populations
from raybench.metrics.functions.threshold_sweep import (
    best_interval,
    best_threshold,
    bound_table,
    cut_counts,
    epsilon_table,
    smoothed_tables,
)

Estimator = Literal["released", "competition", "cross_fitted", "gaussian", "threshold"]
CAP = 50.0  # the value that the competition uses for infinity


class _Normals(NamedTuple):
    """Means and standard deviations of both populations, for each sample, (S, 1)."""

    mean_r: Floats
    sd_r: Floats
    mean_u: Floats
    sd_u: Floats

    def log_ratio(self, x: Floats) -> Floats:
        """Return ln(unlearned density / retrained density) of x (S, models); densities would underflow."""
        mr, sr, mu, su = self
        return np.log(sr / su) + ((x - mr) / sr) ** 2 / 2 - ((x - mu) / su) ** 2 / 2


def per_sample(
    unlearned: Array, retrained: Array, delta: float = 0.05, *, estimator: Estimator = "released", folds: int = 2
) -> Floats:
    """Estimate epsilon of each sample (S,) from signals (M, S) of unlearned and (N, S) of retrained models; 0 = alike.

    - `released`: the best threshold on the ratio of two normals fitted to the scored models, its direction by the
      medians; a threshold with exactly one error rate of 0 is left out, one with both is infinite. Negative values are
      kept, the 1e-8 inside the logarithms of the released code is not. Reference: Kraehenmann et al. 2023, on margins.
    - `threshold`: the same over thresholds of the signal itself, in both directions.
    - `competition`: the best threshold or interval of the signal, clipped to 0..50, and 50 where one range is below 1 %
      of the other. The organizers search a grid at delta 1e-5, this function all thresholds, so it is never lower. O(S
      (M + N)^2).
    - `cross_fitted`: normals, threshold and direction from the other folds of models, rates from the held-out fold,
      with (errors + 1/2) / (models + 1); never negative, mean over folds. Folds alternate over the order of the models.
      No bias from searching; conservative.
    - `gaussian`: the epsilon of the fitted normals, capped at 50. It has no ceiling, and is valid only where they are
      normal; even then it is too high, because an error of either sign in the spread adds to it (1.78 for a true 1.57
      at 256 models).

    Raise ValueError for fewer than 2 models per side (2 in the complement of each fold), or delta outside 0..1.
    """
    u, r = (side.T for side in as_populations(unlearned, retrained))
    _check_delta(delta)
    m, n = u.shape[1], r.shape[1]
    if estimator == "gaussian":
        fitted = _fit(u, r)
        return np.minimum(gaussian(*fitted, delta)[:, 0], CAP)
    if estimator == "cross_fitted":
        return _cross_fitted(u, r, delta, folds)
    table = epsilon_table(m, n, delta)
    if estimator == "released":
        fitted = _fit(u, r, ddof=0)
        score_u, score_r = fitted.log_ratio(u), fitted.log_ratio(r)
        counts = cut_counts(score_u, score_r)
        turned = _log_median_ratio(score_r) > _log_median_ratio(score_u)
        return _usable(np.where(turned, best_threshold(counts, table[::-1, ::-1]), best_threshold(counts, table)))
    counts = cut_counts(u, r)
    if estimator == "threshold":
        return _usable(best_threshold(counts, np.maximum(table, table[::-1, ::-1])))
    if estimator == "competition":
        ranges = np.sort([np.ptp(u, axis=1), np.ptp(r, axis=1)], axis=0)
        best = np.clip(_usable(best_interval(counts, table)), 0, CAP)
        return np.where(ranges[0] < 0.01 * ranges[1], CAP, best)
    raise ValueError(f"unknown estimator {estimator!r} (allowed: {', '.join(get_args(Estimator))})")


def certified_lower_bound(
    unlearned: Array,
    retrained: Array,
    delta: float = 0.05,
    *,
    alpha: float = 0.05,
    correction: Literal["none", "bonferroni"] = "none",
) -> Floats:
    """Compute a value (S,) >= 0 that epsilon exceeds with confidence 1 - alpha, from signals (M, S) and (N, S).

    Normals and threshold come from every other model, error counts from the rest, each bounded by Clopper-Pearson at
    alpha / 2. "none" holds for one sample, "bonferroni" for all together. Raise ValueError for fewer than 4 models a
    side.
    """
    u, r = (side.T for side in as_populations(unlearned, retrained, least=4))
    _check_delta(delta)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in 0..1, got {alpha}")
    if correction not in ("none", "bonferroni"):
        raise ValueError(f"unknown correction {correction!r} (allowed: none, bonferroni)")
    level = alpha / len(u) if correction == "bonferroni" else alpha
    fit_u, fit_r, held_u, held_r = u[:, ::2], r[:, ::2], u[:, 1::2], r[:, 1::2]
    table = bound_table(fit_u.shape[1], fit_r.shape[1], delta, level)
    _, false_positives, detected = _transfer(fit_u, fit_r, held_u, held_r, table[None])[0]
    proven = bound_table(held_u.shape[1], held_r.shape[1], delta, level)[false_positives, detected]
    return np.maximum(proven, 0.0)


def ceiling(n_unlearned: int, n_retrained: int, delta: float = 0.05) -> float:
    """Compute the largest finite epsilon that thresholds on this many models can give; 0 where none is positive."""
    _check_delta(delta)
    if n_unlearned < 1 or n_retrained < 1:
        raise ValueError(f"need at least one model a side, got {n_unlearned} and {n_retrained}")
    ratios = n_unlearned * (1 - delta - 1 / n_retrained), n_retrained * (1 - delta - 1 / n_unlearned)
    return float(np.log(max(*ratios, 1.0)))


def forgetting_quality(epsilons: Array, *, bins: int = 13, width: float = 0.5) -> float:
    """Compute F, the mean over samples of 2 / 2^k for an epsilon in bin k = 1, 2, ... of `width`; 0 past the last bin.

    In 0..1, higher is better, but two halves of the retrained models reach only 0.05 to 0.1: compare at the same number
    of models and the same attacks. Infinity is allowed. Reference: the evaluation note of the NeurIPS 2023 challenge,
    with 13 bins; its code has 14 at 512 models.
    """
    values = as_array(epsilons, name="epsilons")
    if not values.size or np.isnan(values).any():
        raise ValueError("epsilons are empty or contain NaN")
    bin_number = np.floor(np.clip(values, 0, width * bins) / width)
    return float(np.where(bin_number < bins, 0.5**bin_number, 0.0).mean())


def competition_score(
    quality: float,
    *,
    retain_unlearned: Array,
    retain_retrained: Array,
    test_unlearned: Array,
    test_retrained: Array,
) -> float:
    """Compute F * (RA_u / RA_r) * (TA_u / TA_r) from retain and test accuracies (models,) in 0..1; higher is better.

    The ratios can exceed 1. Reference: the evaluation note of the NeurIPS 2023 challenge; its limit on the running time
    is not part of the score.
    """
    named = (retain_unlearned, retain_retrained, test_unlearned, test_retrained)
    ra_u, ra_r, ta_u, ta_r = (float(as_vector(values, name="accuracies").mean()) for values in named)
    if ra_r <= 0 or ta_r <= 0:
        raise ValueError("the retrained models' mean accuracy is 0")
    return float(quality) * (ra_u / ra_r) * (ta_u / ta_r)


def _check_delta(delta: float) -> None:
    if not 0 <= delta < 1:
        raise ValueError(f"delta must lie in 0..1, got {delta}")


def _fit(u: Floats, r: Floats, *, ddof: int = 1) -> _Normals:
    """Fit a normal to the models of each sample (S, models); sd is at least a thousandth of the median sd."""

    def moments(x: Floats) -> tuple[Floats, Floats]:
        sd = x.std(axis=1, ddof=ddof, keepdims=True)
        return x.mean(axis=1, keepdims=True), np.maximum(sd, max(1e-6, 1e-3 * float(np.median(sd))))

    return _Normals(*moments(r), *moments(u))


def _log_median_ratio(log_ratios: Floats) -> Floats:
    """Return ln of the median ratio of each sample; an even number of models averages the two middle ratios."""
    middle = log_ratios.shape[1] // 2
    ordered = np.partition(log_ratios, (middle - 1, middle), axis=1)
    log_sum: Floats = np.logaddexp(ordered[:, middle - 1 + log_ratios.shape[1] % 2], ordered[:, middle])
    return log_sum - math.log(2)


def _usable(best: Floats) -> Floats:
    """Replace -infinity by 0: no threshold is possible where all scores are tied, so the two sides are alike."""
    return np.where(np.isneginf(best), 0.0, best)


def _cross_fitted(u: Floats, r: Floats, delta: float, folds: int) -> Floats:
    fold_u, fold_r = np.arange(u.shape[1]) % folds, np.arange(r.shape[1]) % folds
    smallest = min(u.shape[1], r.shape[1])
    if folds < 2 or smallest < folds or smallest - -(-smallest // folds) < 2:
        raise ValueError(f"{folds} folds need at least 2 models per side outside each, there are {smallest}")
    total = np.zeros(len(u))
    for fold in range(folds):
        held_u, held_r = fold_u == fold, fold_r == fold
        tables = smoothed_tables(int((~held_u).sum()), int((~held_r).sum()), delta)
        rates = smoothed_tables(int(held_u.sum()), int(held_r.sum()), delta)
        # the outermost two of equally good thresholds, so that exchanging both sides changes nothing
        for chosen in _transfer(u[:, ~held_u], r[:, ~held_r], u[:, held_u], r[:, held_r], tables):
            total += np.maximum(rates[chosen], 0.0) / 2
    return total / folds


def _transfer(
    fit_u: Floats, fit_r: Floats, held_u: Floats, held_r: Floats, tables: Floats
) -> list[tuple[Ints, Ints, Ints]]:
    """Choose normals, direction and threshold on some models, and count the others above that threshold.

    Return (direction, retrained above, unlearned above), each (S,), twice: for the first and for the last of equally
    good choices.
    """
    fitted = _fit(fit_u, fit_r)
    counts = cut_counts(fitted.log_ratio(fit_u), fitted.log_ratio(fit_r))
    values = np.moveaxis(tables[:, counts.retrained, counts.unlearned], 0, 1)  # (S, directions, cuts)
    flat, rows = values.reshape(len(values), -1), np.arange(len(values))
    framed = np.pad(counts.scores, ((0, 0), (1, 1)), constant_values=((0, 0), (np.inf, -np.inf)))
    score_r, score_u = fitted.log_ratio(held_r), fitted.log_ratio(held_u)
    chosen = []
    for choice in (flat.argmax(axis=1), flat.shape[1] - 1 - flat[:, ::-1].argmax(axis=1)):
        direction, cut = np.divmod(choice, values.shape[2])
        # an impossible cut repeats the one above the tied scores, which are then the threshold itself
        threshold = ((framed[rows, cut] + framed[rows, cut + 1]) / 2)[:, None]
        chosen.append((direction, (score_r > threshold).sum(axis=1), (score_u > threshold).sum(axis=1)))
    return chosen
