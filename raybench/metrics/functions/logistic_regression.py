"""L2 logistic regression on many splits at once, by Newton's method.

The problem is the default of scikit-learn: minimize the summed log-loss + |w|^2 / 2 on the raw features, without a
penalty on the intercept. The optimum is found in standardized coordinates with a rescaled, equivalent penalty, so raw
losses of 1e-6 and of 1e4 are equally well conditioned.
"""

from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Bools, Floats

MAX_STEPS = 200
Solver = Literal["newton", "lbfgs"]


def decision_values(
    features: Floats,
    is_member: Bools,
    train: Bools,
    *,
    standardize: bool = False,
    solver: Solver = "newton",
) -> Floats:
    """Return the decision values (S, N) of all samples under the model fitted on each of the training masks (S, N).

    Features are (N, F); `standardize` scales them to the mean and sd of each training part before the penalty applies.
    Values above 0 mean member. `lbfgs` fits the LogisticRegression of scikit-learn split by split.
    """
    if solver == "lbfgs":
        return np.stack([_lbfgs(features, is_member, rows, standardize) for rows in train])
    if solver != "newton":
        raise ValueError(f"unknown solver {solver!r} (allowed: newton, lbfgs)")
    scale = _scale(features)
    design = np.column_stack([(features - features.mean(axis=0)) / scale, np.ones(len(features))])
    spread = np.stack([_scale(features[rows]) for rows in train]) if standardize else np.ones((len(train), 1))
    penalty = np.column_stack(
        [np.broadcast_to((spread / scale) ** 2, (len(train), features.shape[1])), np.zeros(len(train))]
    )
    target, weights = is_member.astype(np.float64), train.astype(np.float64)
    # the splits differ little: the optimum on all samples is two or three steps from that of each split
    start = _newton(design, target, np.ones((1, len(target))), penalty[:1], np.zeros((1, design.shape[1])))
    values: Floats = _newton(design, target, weights, penalty, np.repeat(start, len(train), axis=0)) @ design.T
    return values


def _newton(design: Floats, target: Floats, weights: Floats, penalty: Floats, start: Floats) -> Floats:
    """Return coefficients (S, D) that minimize the penalized log-loss of each row of `weights` (S, N)."""
    size = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), size * size)
    coefficients = start
    p, objective = _evaluate(design, target, weights, coefficients, penalty)
    for _ in range(MAX_STEPS):
        gradient = (weights * (p - target)) @ design + penalty * coefficients
        curvature = ((weights * (p * (1 - p))) @ products).reshape(-1, size, size)
        curvature[:, np.arange(size), np.arange(size)] += penalty + 1e-10
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        decrease = np.sum(gradient * step, axis=1)
        if decrease.max() < 1e-12 * len(target):
            return coefficients - step
        # halve the step of every split that a full Newton step would make worse (separable or heavy-tailed signals)
        factor = np.ones((len(weights), 1))
        for _ in range(60):
            candidate = coefficients - factor * step
            p, reached = _evaluate(design, target, weights, candidate, penalty)
            worse = reached > objective - 1e-4 * factor[:, 0] * decrease + 1e-12 * np.abs(objective)
            if not worse.any():
                break
            factor[worse] /= 2
        coefficients, objective = candidate, reached
    return coefficients


def _evaluate(
    design: Floats, target: Floats, weights: Floats, coefficients: Floats, penalty: Floats
) -> tuple[Floats, Floats]:
    """Return the probabilities (S, N) and the penalized log-loss (S,), from one exponential."""
    values = coefficients @ design.T
    small = np.exp(-np.abs(values))
    p = np.where(values >= 0, 1.0, small) / (1 + small)
    log_loss = np.sum(weights * (np.log1p(small) + np.maximum(values, 0) - target * values), axis=1)
    return p, log_loss + np.sum(penalty * coefficients**2, axis=1) / 2


def _lbfgs(features: Floats, is_member: Bools, rows: Bools, standardize: bool) -> Floats:
    scaled = (features - features[rows].mean(axis=0)) / _scale(features[rows]) if standardize else features
    from sklearn.linear_model import LogisticRegression  # late: most processes do not need a second of imports

    values: Floats = LogisticRegression().fit(scaled[rows], is_member[rows]).decision_function(scaled)
    return values


def _scale(features: Floats) -> Floats:
    scale = features.std(axis=0)
    return np.where(scale > 0, scale, 1.0)
