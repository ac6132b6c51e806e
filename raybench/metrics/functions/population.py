"""A population of unlearned models compared with one of retrained models: epsilon, forgetting quality, KLoM, U-LiRA.

None of these numbers means anything alone: the best threshold for 40 against 40 retrained models has a median epsilon
of 0.88. So each has three companions under its name:

- `_null`: retrained against retrained models, at half the number of models.
- `_excess`: the value of the unlearned models at the same half size minus `_null`.
- `_control`: the untouched original instead of the unlearned models.

The samples share the models, so intervals come from half-samples of the models, the same for all samples (a bootstrap
would draw a model twice, and no threshold separates equals).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, Ints, as_vector
from raybench.metrics.framework.spec import Estimate, MetricSpec
from raybench.metrics.functions.epsilon import (
    CAP,
    Estimator,
    ceiling,
    certified_lower_bound,
    competition_score,
    forgetting_quality,
    per_sample,
)
from raybench.metrics.functions.klom import klom
from raybench.metrics.functions.likelihood import u_lira
from raybench.metrics.functions.model_signals import margins, scaled_confidences

ESTIMATORS: tuple[Estimator, ...] = ("released", "competition", "cross_fitted", "gaussian")
LEAST = 4  # models per side
LEAST_FOR_HALVES = 2 * LEAST
NAN = float("nan")


class Models(NamedTuple):
    """What is measured on a population: signals (models, samples) and, where known, accuracies (models,)."""

    margins: Floats
    confidences: Floats
    retain_accuracy: Floats | None = None
    test_accuracy: Floats | None = None

    def take(self, rows: Ints) -> "Models":
        """Return the population of some of the models."""
        accuracies = (None if part is None else part[rows] for part in (self.retain_accuracy, self.test_accuracy))
        return Models(self.margins[rows], self.confidences[rows], *accuracies)


def read_models(
    logits: Array | Sequence[Array],
    labels: Array,
    *,
    retain_accuracy: Array | None = None,
    test_accuracy: Array | None = None,
) -> Models:
    """Reduce logits (models, samples, classes), or a sequence of (samples, classes), to signals and accuracies.

    Accuracies (models,) in 0..1 are only needed for the competition score. Raise ValueError for unequal shapes.
    """
    models = Models(
        margins(logits, labels),
        scaled_confidences(logits, labels),
        *(None if a is None else as_vector(a, name="accuracies") for a in (retain_accuracy, test_accuracy)),
    )
    for accuracies in models[2:]:
        if accuracies is not None and len(accuracies) != len(models.margins):
            raise ValueError(f"{len(accuracies)} accuracies given for {len(models.margins)} models")
    return models


def population_metrics(
    unlearned: Models,
    retrained: Models,
    *,
    original: Models | None = None,
    delta: float = 0.05,
    competition_delta: float = 1e-5,
    resamples: int = 50,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Compute every statistic of M unlearned against N retrained models on the same samples, by name, with companions.

    n is the smaller number of models. An infinite epsilon counts as 50, as in the competition, and in the fraction of
    infinite ones. `original` is one or more original models, repeated to M as a positive control.

    Intervals hold the value of other models in 85 to 88 % of draws at 16 + 16 models. With fewer than 8 models per side
    there are no intervals, no `_null` and no `_excess`. Raise ValueError for fewer than 4 models per side. Cost: 2
    `resamples` evaluations at half size, 0.1 s each at 80 + 80 models and 1,000 samples.
    """
    m, n = len(unlearned.margins), len(retrained.margins)
    if min(m, n) < LEAST:
        raise ValueError(f"a population needs at least {LEAST} models per side, there are {m} and {n}")
    deltas, bounds = (delta, competition_delta), specs()
    full = _statistics(unlearned, retrained, deltas)
    estimates = {
        name: Estimate(value, NAN, NAN, min(m, n), "none: fewer than 8 models per side") for name, value in full.items()
    }
    if min(m, n) >= LEAST_FOR_HALVES:
        pairs = list(_halves(unlearned, retrained, deltas, resamples, np.random.default_rng(seed)))
        for name, value in full.items():
            halves, null = (np.array([statistics[name] for statistics in side]) for side in zip(*pairs))
            center = float(np.median(halves))
            # the released epsilon keeps negative values, so it can fall below its range
            replicas = np.clip(halves - center + value, min(value, bounds[name].low), bounds[name].high)
            estimates[name] = _interval(replicas, value, min(m, n), "half-samples of models")
            size = min(m // 2, n // 2)
            estimates[f"{name}_null"] = _interval(null, float(np.median(null)), size, "splits of the retrained models")
            excess = halves - null
            estimates[f"{name}_excess"] = _interval(excess, float(np.median(excess)), size, "half-samples of models")
    if original is not None:
        repeated = original.take(np.arange(m) % len(original.margins))
        for name, value in _statistics(repeated, retrained, deltas).items():
            estimates[f"{name}_control"] = Estimate(value, NAN, NAN, min(m, n), "none: copies of the original")
    for name, of_delta in (("epsilon_ceiling", delta), ("epsilon_competition_ceiling", competition_delta)):
        estimates[name] = _exact(ceiling(m, n, of_delta), min(m, n))
    return estimates


def specs() -> dict[str, MetricSpec]:
    """Return the spec of each statistic of `population_metrics`, without the companions."""
    precision = "Kraehenmann et al. 2023, Forget with Precision"
    challenge = "NeurIPS 2023 machine unlearning challenge, evaluation note"

    def lower(source: str, high: float, ideal: float | None = 0.0, *, released: bool = False) -> MetricSpec:
        return MetricSpec(source, "lower", 0, high, ideal, ("forget",), "released" if released else "corrected")

    rows = {}
    for estimator in ESTIMATORS:
        source = challenge if estimator == "competition" else precision
        released = estimator in ("released", "competition")
        for part, high in (
            ("median", CAP),
            ("q90", CAP),
            ("q99", CAP),
            ("infinite_fraction", 1),
            ("above_ceiling_fraction", 1),
        ):
            rows[f"epsilon_{estimator}_{part}"] = lower(source, high, released=released)
    rows["epsilon_certified_fraction"] = lower(f"{precision}; Clopper and Pearson 1934", 1)
    rows["forgetting_quality"] = MetricSpec(challenge, "raise", 0, 1, None, ("forget",), "released")
    rows["competition_score"] = MetricSpec(challenge, "raise", 0, float("inf"), None, ("forget",), "released")
    rows["klom_median"] = rows["klom_q90"] = lower("Georgiev et al. 2024, arXiv 2410.23232", float("inf"), None)
    for name, ideal in (("u_lira_auc", 0.5), ("u_lira_tpr_at_fpr_0.01", 0.01)):
        rows[name] = lower("Hayes et al. 2024, arXiv 2403.01218", 1, ideal)
    for name in ("epsilon_ceiling", "epsilon_competition_ceiling"):
        rows[name] = MetricSpec(precision, "match", 0, float("inf"), None, ("forget",), "corrected")
    return rows


def _statistics(u: Models, r: Models, deltas: tuple[float, float]) -> dict[str, float]:
    delta, competition_delta = deltas
    m, n = len(u.margins), len(r.margins)
    values: dict[str, float] = {}
    for estimator in ESTIMATORS:
        at = competition_delta if estimator == "competition" else delta
        signals = (u.margins, r.margins) if estimator == "released" else (u.confidences, r.confidences)
        raw = per_sample(*signals, at, estimator=estimator)
        epsilons = np.minimum(raw, CAP)
        values[f"epsilon_{estimator}_median"] = float(np.median(epsilons))
        values[f"epsilon_{estimator}_q90"] = float(np.quantile(epsilons, 0.9))
        values[f"epsilon_{estimator}_q99"] = float(np.quantile(epsilons, 0.99))
        values[f"epsilon_{estimator}_infinite_fraction"] = float(np.mean(raw >= CAP))
        values[f"epsilon_{estimator}_above_ceiling_fraction"] = float(np.mean(epsilons > ceiling(m, n, at) + 1e-9))
        if estimator == "competition":
            values["forgetting_quality"] = forgetting_quality(epsilons)
    proven = certified_lower_bound(u.confidences, r.confidences, delta, correction="bonferroni")
    values["epsilon_certified_fraction"] = float(np.mean(proven > 0))
    accuracies = {
        "retain_unlearned": u.retain_accuracy,
        "retain_retrained": r.retain_accuracy,
        "test_unlearned": u.test_accuracy,
        "test_retrained": r.test_accuracy,
    }
    if all(of_models is not None for of_models in accuracies.values()):
        values["competition_score"] = competition_score(values["forgetting_quality"], **accuracies)
    divergences = klom(u.confidences, r.confidences)
    values["klom_median"], values["klom_q90"] = float(np.median(divergences)), float(np.quantile(divergences, 0.9))
    attack = u_lira(u.confidences, r.confidences, fprs=(0.01,))
    values["u_lira_auc"], values["u_lira_tpr_at_fpr_0.01"] = attack.auc.value, attack.tpr[0.01].value
    return values


def _halves(
    u: Models, r: Models, deltas: tuple[float, float], resamples: int, rng: np.random.Generator
) -> Iterator[tuple[Mapping[str, float], Mapping[str, float]]]:
    """Yield the statistics of half of the unlearned and of other retrained models, against half of the retrained."""
    m, n = len(u.margins), len(r.margins)
    size = min(m // 2, n // 2)
    for _ in range(resamples):
        order = rng.permutation(n)
        reference = r.take(order[: n // 2])
        remaining = r.take(order[n // 2 :][:size])
        yield (
            _statistics(u.take(rng.permutation(m)[:size]), reference, deltas),
            _statistics(remaining, reference, deltas),
        )


def _interval(replicas: Floats, value: float, n: int, interval: str) -> Estimate:
    low, high = np.quantile(replicas, 0.025, method="lower"), np.quantile(replicas, 0.975, method="higher")
    return Estimate(value, float(low), float(high), n, interval)


def _exact(value: float, n: int) -> Estimate:
    return Estimate(value, value, value, n, "exact: a function of the numbers of models")
