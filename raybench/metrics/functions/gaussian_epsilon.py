"""The exact epsilon between two normal distributions at a given delta.

The worst event is where the density ratio exceeds e^epsilon: an interval, its complement or a half line, so its
probabilities are known in closed form. They stay in logarithms, because at epsilon = 1,000 the smaller one is e^-1000.
With fitted moments the value has neither a ceiling nor a lattice, but it extrapolates beyond the observed models.
"""

import numpy as np
from scipy.special import log_ndtr

from raybench.metrics.framework.arrays import Array, Bools, Floats, as_array

_BISECTIONS = 44  # of an interval no wider than the result or 1: below 1e-13


def gaussian(mean_r: Array, sd_r: Array, mean_u: Array, sd_u: Array, delta: float) -> Floats:
    """Compute the smallest epsilon >= 0 at which N(mean_r, sd_r^2) and N(mean_u, sd_u^2) are (epsilon, delta)-close.

    Arguments broadcast; the result has their shape. Infinite at delta = 0 wherever the two differ. Raise ValueError for
    sd <= 0 or delta outside 0..1. Reference: Dwork and Roth 2014, definition 2.4, in both directions.
    """
    if not 0 <= delta < 1:
        raise ValueError(f"delta must lie in 0..1, got {delta}")
    named = {"mean_r": mean_r, "sd_r": sd_r, "mean_u": mean_u, "sd_u": sd_u}
    mr, sr, mu, su = np.broadcast_arrays(*(as_array(v, name=name, finite=True) for name, v in named.items()))
    if not ((sr > 0).all() and (su > 0).all()):
        raise ValueError("standard deviations must be positive")
    # in units of the retrained distribution: N(0, 1) against N(shift, scale^2)
    shift, scale = ((mu - mr) / sr).ravel(), (su / sr).ravel()
    if delta == 0:
        return np.where((shift == 0) & (scale == 1), 0.0, np.inf).reshape(mr.shape)
    low, high = np.zeros(shift.shape), np.ones(shift.shape)
    wide = np.flatnonzero(~_close(shift, scale, high, delta))
    while len(wide):
        low[wide] = high[wide]
        high[wide] *= 2
        wide = wide[~_close(shift[wide], scale[wide], high[wide], delta)]
    high[_close(shift, scale, low, delta)] = 0  # only where low is 0: at any other low the two were not close
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        close = _close(shift, scale, middle, delta)
        high, low = np.where(close, middle, high), np.where(close, low, middle)
    return high.reshape(mr.shape)


def _close(shift: Floats, scale: Floats, epsilon: Floats, delta: float) -> Bools:
    """Return whether P_U(E) - e^epsilon P_R(E) <= delta for the worst event E, and with U and R exchanged."""
    return _within(shift, scale, epsilon, delta) & _within(-shift / scale, 1 / scale, epsilon, delta)


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # ends may lie at infinity
def _within(shift: Floats, scale: Floats, epsilon: Floats, delta: float) -> Bools:
    # E = {a x^2 + b x + c > 0} is where the log density ratio of N(shift, scale^2) to N(0, 1) exceeds epsilon
    a = (1 - scale**-2) / 2
    b = shift / scale**2
    c = -np.log(scale) - (shift / scale) ** 2 / 2 - epsilon
    discriminant = b * b - 4 * a * c
    far = -(b + np.copysign(np.sqrt(np.maximum(discriminant, 0)), b)) / 2  # no cancellation; the other root is c / far
    first = np.where(a == 0, np.copysign(np.inf, b), far / a)
    second = np.where(far == 0, 0.0, c / far)
    left, right = np.minimum(first, second), np.maximum(first, second)
    outside = a > 0
    nowhere, everywhere = (discriminant <= 0) & ~outside, (discriminant <= 0) & outside

    def log_probability(low: Floats, high: Floats) -> Floats:
        # inside: Phi(high) - Phi(low) from the tail in which both lie; outside: Phi(low) + Phi(-high)
        flip = low > 0
        first_tail = log_ndtr(np.where(outside | ~flip, np.where(outside, low, high), -low))
        second_tail = log_ndtr(np.where(outside | flip, -high, low))
        difference = first_tail + np.log(-np.expm1(np.minimum(second_tail - first_tail, 0)))
        inside = np.where(first_tail > second_tail, difference, -np.inf)
        value = np.where(outside, np.logaddexp(first_tail, second_tail), inside)
        return np.where(nowhere, -np.inf, np.where(everywhere, 0.0, value))

    log_u, log_r = log_probability((left - shift) / scale, (right - shift) / scale), log_probability(left, right)
    excess = -np.exp(log_u) * np.expm1(np.minimum(log_r + epsilon - log_u, 0))
    return np.where(np.isneginf(log_u), True, excess <= delta)
