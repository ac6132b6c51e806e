"""Text of the metric pages that is not in docstrings, and the functions that the pages list next to the metrics."""

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
    "Computed": "with `evaluate: {relearning: {lr: 0.01}}`; off by default, because it trains every model of the "
    "leaderboard",
    "Rows": "`relearning_epochs` and `relearning_samples` on forget; a reason if the target accuracy was not reached",
    "Target": "the accuracy of the original on the forget set, minus `tolerance` (0.01)",
    "Direction": "match retrained; a model that needs fewer epochs than the retrained models has kept something",
    "Cost": "training on the forget set for at most `max_epochs` epochs, with one pass over it after each epoch",
    "When not to trust it": "The number is coarse if few epochs are needed: the digits' originals need 0 epochs, "
    "models that saw half of the forget set 14.5, retrained models 15.6 (sd 1.6).",
}
OVERVIEW = (
    "raybench computes the metrics of `evaluate.metrics` on every split they apply to, for every model, with the "
    "signed gap to the retrained models. Where a metric is not defined for a model or a data set, the table gives the "
    "reason instead of a value.",
    "[What each metric can detect](power.md): how often each metric separates models that remember from retrained "
    "models, how often it raises a false alarm, and what it reports on models that only hide what they know.",
)
COLUMNS = (
    "*match retrained*: the ideal is the value of models that were retrained without the forget set. *protocol*: "
    "`released` is what the code of a paper computes, bugs included; `corrected` is what its text defines. Splits are "
    "the roles of the experiment; `downstream` means every set under `evaluate.downstream`."
)
EXAMPLES = (
    'where the examples come from: "the digits" are the models of [what each metric can detect](../power.md), 10 '
    "originals, 8 retrained models and 10 poisoned ones; 120 of their 600 training images are forgotten. Values are "
    'means, on forget unless another split is named. "Digits without 3s" are the same without wrong labels and with '
    "class 3 (62 images) forgotten: 4 originals and 4 retrained models."
)
OF_FUNCTIONS = (
    "These functions add no rows to the evaluation. Metrics and the report are computed from them, and they can be "
    "used on their own: `from raybench.metrics.functions import conformal_sets`. Arrays are numpy or torch."
)
OF_COMPANIONS = (
    "Every statistic but the ceilings has three companions: `_null` (retrained models compared with retrained models, "
    "half of them on each side), `_excess` (the value of the unlearned models at the same half size, minus the null) "
    "and `_control` (the original instead of the unlearned models)."
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
    """Return the functions of those names; for `ALL` every public function of the module, in its order."""
    public = names or [name for name in vars(module) if not name.startswith("_") and _is_offered(module, name)]
    return {name: getattr(module, name) for name in public}


def _is_offered(module: ModuleType, name: str) -> bool:
    """Return whether a name is a function that the module exports, or defines if it has no `__all__`."""
    value, exported = getattr(module, name), getattr(module, "__all__", None)
    return inspect.isfunction(value) and (name in exported if exported else value.__module__ == module.__name__)


MEMORY = {
    "Computed": "for every run with at least 3 retrained models, from the losses on the forget set",
    "Rows": "`residual_memory` of every model in `metrics.parquet`; `memory.parquet` has the methods with both scores, "
    "`exposure.parquet` every forget sample",
    "Direction": "match retrained; 0 as retrained models, 1 as the original",
    "Cost": "(retrained models + originals) * forget samples; no forward pass",
    "When not to trust it": "It sees confidences in the true label. A model that hides what it knows elsewhere passes "
    "(the section on adversaries in docs/power.md). With one original, values refer to that original, and models that "
    "did not start from it read less. A model that is far more confident than retrained models on all samples, unseen "
    "ones included, reads as one that remembers. A share that a model was trained on is what it remembers only where "
    "samples do not teach about each other: one image of a class teaches much about the class.",
}
OF_VERDICTS = """## Verdicts

- `forgotten`: the upper bound is below `evaluate.margin` (10 %), and no memory column of the leaderboard is
  significantly above the retrained models. This is a test of equivalence: the data rule out that more is left.
- `remembers`: the lower bound is above 0, or a memory column is significantly above the retrained models.
- `no difference`: neither. The verdict says how much could have been missed; more runs, more retrained models or more
  forget samples lower it.
- `withheld`: fewer than 5 retrained models, or an original that is hardly more confident of the forget samples than
  retrained models are. The line says what is needed.

A method is judged by all its runs together, each against the originals that it did not start from. The bounds hold for
each method by itself, not for all methods of a table at once. `over-forgot` adds methods that *deny* forget samples:
they are less confident of more samples than retrained models are (one-sided 99 % bound), as after training on wrong
labels."""
