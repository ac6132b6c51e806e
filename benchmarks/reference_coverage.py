"""Intervals over retrained models: cases of `coverage.py`, and false alarms of metrics that compare pairs of models.

The false alarms are measured twice: on simulated pairs, where the effects of models and of pairs are known, and on
pairs of retrained digit models, of which N references and one further model are drawn at random.
"""

import itertools
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from known_memory import build

from raybench.config.reading import load_experiment
from raybench.docgen.markdown import table
from raybench.engine.prediction import predict
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.average_gap import average_gap_estimate
from raybench.metrics.functions.intervals import mean_interval
from raybench.metrics.functions.references import gap_to_pairs, mean_of_pairs, mean_over_references
from raybench.metrics.functions.statistics import gap_to_reference
from raybench.scenario.prepare import prepare
from raybench.scoring.binding import Models, compute_metric
from raybench.storage.store import Store

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"
REFERENCES = (3, 5, 8, 16)
LEVELS = (0.05, 0.05 / 7)  # of one column alone, and Bonferroni-corrected over the columns of the leaderboard
PAIRED = (
    "cka_to_retrained",
    "js_to_retrained",
    "kl_to_retrained",
    "agreement_to_retrained",
    "activation_distance",
    "agl_forget",
)
TEXT = """### False alarms of metrics between models

A metric such as `cka_to_retrained` compares a model with each of N retrained models. The values of the retrained models
share pairs, so they vary less than the value of a further model does. How often one further retrained model is called
different, in percent, at the level of one column alone (5) and Bonferroni-corrected over seven columns (0.71). *Shared
pairs ignored* treats the means of the retrained models as independent; *jackknife* is what the leaderboard uses. With
two retrained models it gives no interval. *Pair sd* is the standard deviation of what is particular to a pair, in units
of that of the models. Digits: {models} retrained models of the quickstart, N references and one further model drawn at
random; the draws share the models. Distances are skewed, which a t distribution does not allow for: at the corrected
level divergences and `agl_forget` (1 minus the distance of two accuracies) exceed it by up to a few percent.
"""


class Alarms(NamedTuple):
    """False alarms in 0..1 at each of `LEVELS`."""

    ignored: tuple[float, ...]
    jackknife: tuple[float, ...]


def cases() -> Iterator[tuple[str, str, Callable[[np.random.Generator], Estimate], float]]:
    """Yield kind, setting, draw and true value of the cases of `coverage.py`."""
    for n, correlation in itertools.product((2, 3, 8, 30), (0.0, 0.9)):
        for gaps, name in (((0.0,) * 4, "no true gap"), ((1.0, 0, 0, 0), "1 sd in one"), ((3.0,) * 4, "3 sd in all")):
            setting = f"{n} retrained, components correlated {correlation:g}, {name}"
            draw = partial(_average_gap, n=n, correlation=correlation, gaps=gaps)
            yield "average gap", setting, draw, 100 * float(np.mean(gaps))
    for n in REFERENCES:
        for between in (0.0, 0.2, 1.0):
            setting = f"{n} retrained (sd {between:g}) x 100 samples (sd 1)"
            yield "mean over retrained models", setting, partial(_mean_over, n=n, between=between), 0
    for n, pair_sd in itertools.product(REFERENCES, (0.0, 1.0)):
        setting = f"{n} retrained, pair sd {pair_sd:g}"
        yield "mean among retrained models", setting, partial(_among, n=n, pair_sd=pair_sd), 0


def false_alarms(draws: int, models: int, seed: int = 0, epochs: int | None = None) -> str:
    """Return the subsection as Markdown; `models` retrained digit models are trained, 0 for none."""
    generator = np.random.default_rng(seed)
    rows = []
    for kind, pair_sd in (
        ("symmetric", 0.0),
        ("symmetric", 1.0),
        ("symmetric", 3.0),
        ("as KL", 1.0),
        ("distance on a line", 0.0),
    ):
        for n in REFERENCES:
            tables = (simulated(generator, n + 1, kind, pair_sd) for _ in range(draws))
            rows.append([f"simulated, {kind}, pair sd {pair_sd:g}", str(n), *_percent(alarms(tables))])
    for name, values in (digits(models, epochs) if models else {}).items():
        for n in [n for n in REFERENCES if n < models / 2]:
            chosen = (generator.permutation(models)[: n + 1] for _ in range(draws))
            rows.append([f"digits, `{name}`, forget", str(n), *_percent(alarms(values[np.ix_(c, c)] for c in chosen))])
    head = ["values", "N", *(f"{way}, {100 * level:.2g} %" for way in Alarms._fields for level in LEVELS)]
    head = [title.replace("ignored", "shared pairs ignored") for title in head]
    return f"{TEXT.format(models=models)}\n{table(head, rows)}"


def simulated(g: np.random.Generator, models: int, kind: str, pair_sd: float) -> np.ndarray:
    """Return the values d(i, j) of all pairs of models (models, models)."""
    a, e = g.normal(size=models), pair_sd * g.normal(size=(models, models))
    if kind == "distance on a line":
        return np.abs(a[:, None] - a[None])
    if kind == "as KL":  # not symmetric: the reference has its own, related effect
        return a[:, None] + 0.5 * a[None] + e
    e = np.triu(e, 1)
    return a[:, None] + a[None] + e + e.T


def alarms(tables: Iterable[np.ndarray]) -> Alarms:
    """Return how often the last model of each table (N + 1, N + 1) is called different from the others."""
    outside: list[list[bool]] = []
    for values in tables:
        n = len(values) - 1
        own = np.array([np.delete(values[i, :n], i).mean() for i in range(n)])
        gaps = [gap_to_reference(values[n, :n].mean(), own, confidence=1 - level) for level in LEVELS]
        gaps += [gap_to_pairs(values[n, :n], values[:n, :n], confidence=1 - level) for level in LEVELS]
        outside.append([gap.low > 0 or gap.high < 0 for gap in gaps])
    means = np.mean(outside, axis=0)
    return Alarms(tuple(means[:2]), tuple(means[2:]))


def digits(models: int, epochs: int | None = None) -> Mapping[str, np.ndarray]:
    """Train retrained models of the quickstart and return, by metric, its value on forget for all pairs."""
    torch.set_num_threads(1)
    experiment, _ = load_experiment(QUICKSTART, [f"train.epochs={epochs}"] if epochs else [])
    with tempfile.TemporaryDirectory() as folder:
        scenario = prepare(experiment, Store(folder))
        trained = build(scenario, originals=0, retrained=models)
        stored = {
            (name, role): predict(model, scenario.split(role))
            for name, model in trained.items()
            for role in ("retain", "forget", "test")
        }
        images = scenario.data()
    against = Models(lambda key, role: stored[key, role], "", tuple(trained), images.groups, images.num_classes)
    values = {}
    for name in PAIRED:
        metric, split, suffix = ("agl", None, "_forget") if name == "agl_forget" else (name, "forget", "")
        each = [compute_metric(metric, {}, model, split, None, against)[suffix].by_retrained for model in trained]
        values[name] = np.array(each, dtype=float)
    return values


def _percent(result: Alarms) -> list[str]:
    return [f"{100 * value:.1f}" for way in result for value in way]


def _average_gap(g: np.random.Generator, n: int, correlation: float, gaps: tuple[float, ...]) -> Estimate:
    values = math.sqrt(correlation) * g.normal(size=(n + 1, 1)) + math.sqrt(1 - correlation) * g.normal(size=(n + 1, 4))
    return average_gap_estimate(values[-1] + gaps, values[:-1])


def _mean_over(g: np.random.Generator, n: int, between: float) -> Estimate:
    """Average over n models whose means differ; the samples share a part of their values."""
    x = between * g.normal(size=(n, 1)) + math.sqrt(0.5) * (g.normal(size=100) + g.normal(size=(n, 100)))
    return mean_over_references([mean_interval(row) for row in x])


def _among(g: np.random.Generator, n: int, pair_sd: float) -> Estimate:
    return mean_of_pairs(simulated(g, n, "symmetric", pair_sd))
