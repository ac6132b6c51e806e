"""What stands on docs/metrics.md beside the metrics that are found by their decorators: its prose, and functions."""

import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from raybench.metrics.functions import (
    cka,
    composite,
    conformal_quantile,
    conformal_sets,
    divergence,
    epsilon,
    features,
    gaussian_epsilon,
    intervals,
    klom,
    knn,
    likelihood,
    membership,
    miacr,
    population,
    statistics,
    svc_attack,
    weights,
)

RELEARNING = {
    "Asked for by": "`evaluate: {relearning: {lr: 0.01}}`; off by default, since it trains every "
    "model of the leaderboard",
    "Rows": "`relearning_epochs` and `relearning_samples` on forget; a reason where the level was not reached",
    "Level": "the original's accuracy on the forget set, less `tolerance` (0.01)",
    "Direction": "match retrained; fewer epochs than they need means that something is left",
    "Cost": "training on forget for `max_epochs` epochs at most, a pass over it after each",
    "When not to trust it": "Coarse where epochs are few: the digits' originals need 0 epochs, models that saw half of "
    "the forget set 14.5, retrained ones 15.6 (sd 1.6).",
}
OF_METRICS = (
    "The evaluation computes every metric that the experiment asks for, on each split named here, with its gap to "
    "the retrained models. Where a metric is not defined on an input, its reason stands in the table instead of a "
    "number. `released` is what a source's code computes, faults included; `corrected` is what its text defines.",
    "[What each metric can see](power.md): how often each tells models that remember from retrained ones, how "
    "often it errs, and what it says of models that only hide what they know.",
    'Sizes are given on examples. "The digits" are the models of that page: 10 originals, 8 retrained and 10 poisoned '
    "ones, 120 of whose 600 training images are to be forgotten; numbers are their means, on forget where no split is "
    'named. "Digits without 3s" are the same without wrong labels, the class 3 (62 images) forgotten whole: 4 '
    "originals and 4 retrained models.",
)
OF_FUNCTIONS = (
    "No rows of the evaluation, but what rows are made of and judged by, to be used alone: "
    "`from raybench.metrics.functions import conformal_sets`. Arrays are numpy or torch."
)
OF_POPULATIONS = (
    population.population_metrics,
    epsilon.per_sample,
    gaussian_epsilon.gaussian,
    epsilon.certified_lower_bound,
    epsilon.ceiling,
    epsilon.forgetting_quality,
    epsilon.competition_score,
    klom.klom,
    likelihood.lira,
    likelihood.u_lira,
    likelihood.rmia,
)
ALL: tuple[str, ...] = ()
FUNCTIONS: tuple[tuple[ModuleType, Sequence[str]], ...] = (
    (conformal_quantile, ("quantile",)),
    (conformal_sets, ("coverage_ratio",)),
    (miacr, ("membership_coverage_ratio",)),
    (membership, ("logistic", "threshold")),
    (svc_attack, ("svc",)),
    (cka, ("cka",)),
    (knn, ("knn_predict",)),
    (features, ("linear_probe", "class_drift")),
    (divergence, ("jensen_shannon", "kl", "completeness")),
    (weights, ("distance", "per_layer")),
    (composite, ("tug_of_war", "pareto_ranks")),
    (intervals, ALL),
    (statistics, ALL),
)


def functions(module: ModuleType, names: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """Return the functions of those names; for `ALL` every public one of the module, in its own order."""
    own = names or [name for name in vars(module) if not name.startswith("_") and _is_its_own(module, name)]
    return {name: getattr(module, name) for name in own}


def _is_its_own(module: ModuleType, name: str) -> bool:
    given, offered = getattr(module, name), getattr(module, "__all__", None)
    return inspect.isfunction(given) and (name in offered if offered else given.__module__ == module.__name__)
