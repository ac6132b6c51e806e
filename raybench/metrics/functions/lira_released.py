"""Offline LiRA as its released code computes it: median center, one spread for all samples, log densities.

The code fits a normal to the signals of the models that were not trained on a sample and takes the log density of the
target's signal as the score. That is two-sided: a signal far below the others counts as a member, like one far above.
Reference: Carlini et al. 2022, arXiv 2112.03570, `generate_ours_offline` of its repository.
"""

from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, as_vector
from raybench.metrics.functions.model_signals import as_population

Center = Literal["median", "mean"]
Spread = Literal["fixed", "per_example"]
Form = Literal["log_density", "distance"]
SMALLEST = 1e-30  # added to every standard deviation, as released


def offline_scores(
    target: Array, others: Array, *, center: Center = "median", spread: Spread = "fixed", form: Form = "log_density"
) -> Floats:
    """Return the score of each sample (S,), higher for members, from signals of a target (S,) and of others (N, S).

    - `center`: of the others, for each sample.
    - `spread`: their standard deviation (divided by N, not N - 1), for each sample (`per_example`), or of all their
      signals at once (`fixed`), which contains the differences between samples as well.
    - `form`: minus the log density of the target (`log_density`, two-sided), or how many standard deviations it lies
      above the center (`distance`).

    Raise ValueError for unequal numbers of samples, unknown settings, or fewer than 2 other models per example.
    """
    x, shadows = as_vector(target, name="target"), as_population(others, name="others")
    if shadows.shape[1] != len(x):
        raise ValueError(f"others have {shadows.shape[1]} samples, the target {len(x)}")
    if center not in ("median", "mean") or spread not in ("fixed", "per_example"):
        raise ValueError(f"center must be median or mean, spread fixed or per_example, got {center!r} and {spread!r}")
    if form not in ("log_density", "distance"):
        raise ValueError(f"form must be log_density or distance, got {form!r}")
    if spread == "per_example" and len(shadows) < 2:
        raise ValueError("a spread per example needs at least 2 other models")
    middle = np.median(shadows, axis=0) if center == "median" else shadows.mean(axis=0)
    sd = SMALLEST + (shadows.std() if spread == "fixed" else shadows.std(axis=0))
    distance: Floats = (x - middle) / sd
    if form == "distance":
        return distance
    minus_log_density: Floats = distance**2 / 2 + np.log(sd) + np.log(2 * np.pi) / 2
    return minus_log_density
