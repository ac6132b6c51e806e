"""Measure how often each kind of 95 % interval contains the true value, on simulated data.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py [--draws 2000] [--out docs/power.md] [--short]

Each case draws data of a known distribution, computes the interval that a metric reports, and counts how often it
contains the true value. Where the true value has no closed form it is the mean estimate over all draws. Slow cases use
a tenth of the draws. --out replaces the section "Coverage of intervals" of that page, or appends it. --short takes 5
draws of each case.
"""

import argparse
import datetime
import itertools
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from raybench.docgen.markdown import replace_section, table
from raybench.metrics.accuracy import calibration_error
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.cka import cka_estimate
from raybench.metrics.functions.conformal_quantile import quantile
from raybench.metrics.functions.divergence import completeness
from raybench.metrics.functions.intervals import (
    clopper_pearson,
    delong,
    difference,
    mean_interval,
    proportion,
    sparse_mean,
    wilson,
)
from raybench.metrics.functions.likelihood import LikelihoodAttack, lira, u_lira
from raybench.metrics.functions.membership import logistic, threshold
from raybench.metrics.functions.population import Models, population_metrics
from raybench.metrics.functions.roc import tpr_at_fprs
from raybench.metrics.functions.statistics import gap_to_reference
from raybench.metrics.per_class_accuracy import balanced_accuracy

HEADING = "## Coverage of intervals"
TEXT = """How often a 95 % interval contains the true value, on simulated data. *Coverage* below 90 % is in bold: such
an interval is too short. The largest standard error of a coverage is {error:.1f} points, {slow_error:.1f} for values
marked *. *Width* is the mean width of the interval. A true value without a closed form is the mean estimate over all
draws. Intervals of a metric describe the samples, with the models fixed; only the rows that name models allow for other
models. Abbreviations: AUC area under the ROC curve, TPR true positive rate, FPR false positive rate, LiRA likelihood
ratio attack, JS and KL Jensen-Shannon and Kullback-Leibler divergence, CKA centered kernel alignment, sd standard
deviation.
"""
Draw = Callable[[np.random.Generator], Estimate]


class Case(NamedTuple):
    """One row: `draw` returns an estimate of `truth`; NaN: the mean over the draws."""

    kind: str
    setting: str
    draw: Draw
    truth: float = math.nan
    slow: bool = False


class Result(NamedTuple):
    """The coverage of one case in 0..1, and the mean width of its intervals."""

    case: Case
    coverage: float
    width: float
    interval: str


def proportions() -> Iterator[Case]:
    for n, p in ((20, 0.5), (120, 0.95), (1000, 0.99)):
        setting = f"{n} samples, {p:g}"
        yield Case("accuracy, and other fractions", setting, partial(_binomial, n=n, p=p), p)
        yield Case("k-NN, linear probe", setting, lambda g, n=n, p=p: wilson(g.binomial(n, p), n), p)
    yield Case("accuracy by person", "60 persons x 10 samples, 0.8", _by_person, 0.8)
    yield Case("accuracy of labels (N, L)", "120 samples x 3 dependent labels, 0.9", _of_labels, 0.9)
    yield Case("difference of two fractions", "120 and 480 samples, 0.95 - 0.85", _difference, 0.1)
    for counts, sizes in (((200, 60, 8, 3), "200, 60, 8 and 3"), ((12,) * 10, "10 x 12"), ((3,) * 10, "10 x 3")):
        yield Case("balanced accuracy", f"classes of {sizes} samples, 0.8", partial(_balanced, counts=counts), 0.8)
    yield Case("calibration error", "500 samples, calibrated, 15 bins", _calibration)
    yield Case("completeness of labels (N, L)", "120 samples x 3 labels, 5 % differ", _completeness)
    for calibration in ("fixed", "redrawn"):
        setting = f"500 test and 100 calibration samples, these {calibration}"
        yield Case("coverage of sets", setting, partial(_conformal, redrawn=calibration == "redrawn"), 0)


def attacks() -> Iterator[Case]:
    for m, n in ((20, 20), (50, 50), (120, 480), (10, 1000)):
        for auc in (0.5, 0.9, 0.99):
            sides = partial(_sides, m=m, n=n, shift=math.sqrt(2) * norm.ppf(auc))
            yield Case("AUC", f"{m} v {n} samples, {auc:g}", lambda g, sides=sides: delong(*sides(g)), auc)
    yield Case("AUC by person", "60 v 60 persons x 10 samples, 0.76", _auc_by_person, norm.cdf(math.sqrt(0.5)))
    for m, n in ((120, 120), (120, 480), (1000, 1000)):
        for fpr, shift in ((0.01, 0.0), (0.01, 3.0), (0.1, 0.0), (0.1, 3.0)):
            truth, draw = norm.sf(norm.isf(fpr) - shift), partial(_tpr, m=m, n=n, shift=shift, fpr=fpr)
            yield Case(f"TPR at {fpr:g} FPR", f"{m} v {n} samples, {truth:.2f}", draw, truth)
    for shift in (0.0, 1.0):
        setting, sides = f"120 v 120 samples, signals {shift:g} sd apart", partial(_sides, m=120, n=120, shift=-shift)
        yield Case("attack accuracy", setting, lambda g, sides=sides: logistic(*sides(g)).accuracy, slow=True)
        yield Case("accuracy of a threshold", setting, lambda g, sides=sides: threshold(*sides(g)).accuracy, slow=True)


def populations() -> Iterator[Case]:
    for models in (8, 16, 64):
        for effect in (0.0, 1.0):
            setting = f"{models} models x 100 samples, effect {effect:g} sd"
            first, second = (partial(attack, models=models, effect=effect) for attack in (_lira, _u_lira))
            yield Case("LiRA, AUC", setting, lambda g, attack=first: attack(g).auc, slow=True)
            yield Case("U-LiRA, AUC", setting, lambda g, attack=second: attack(g).auc, slow=True)
            yield Case("U-LiRA, TPR at 0.1 FPR", setting, lambda g, attack=second: attack(g).tpr[0.1], slow=True)
    setting = "16 models x 100 samples, whole models differ by 0.5 sd"
    yield Case("U-LiRA, AUC", setting, lambda g: _u_lira(g, 16, 0.5, between=0.5).auc, slow=True)
    for name in ("klom_median", "epsilon_cross_fitted_median"):
        setting = "16 + 16 models x 20 samples, effect 1 sd"
        yield Case(f"population, {name}", setting, lambda g, name=name: _population(g)[name], slow=True)
    for n in (3, 5, 8):
        yield Case("gap to retrained models", f"one model, {n} retrained", partial(_gap, m=1, n=n), 0)
        yield Case("gap to retrained models", f"3 models of equal spread, {n} retrained", partial(_gap, m=3, n=n), 0)
    setting = "5 seeds of one original (sd 0.5 of 1), 5 retrained"
    yield Case("gap to retrained models", setting, partial(_gap, m=5, n=5, sd=0.5), 0)


def means() -> Iterator[Case]:
    for n in (60, 120, 500):
        for part in (0.01, 0.03, 0.1):
            setting, draw = f"{n} samples, {100 * part:g} % differ", partial(_changed, n=n, part=part)
            yield Case("JS, activation distance", setting, lambda g, draw=draw: sparse_mean(draw(g), high=1), part / 2)
            if n * part >= 3:
                yield Case("KL", setting, lambda g, draw=draw: sparse_mean(draw(g, scale=20)), 10 * part)
    yield Case("JS, activation distance", "120 samples, dense", lambda g: sparse_mean(g.beta(2, 5, 120), high=1), 2 / 7)
    for sd in (1.0, 2.0):
        setting, truth = f"120 samples, log-normal, log sd {sd:g}", math.exp(sd**2 / 2)
        yield Case("KL", setting, lambda g, sd=sd: sparse_mean(g.lognormal(0, sd, 120)), truth)
    yield Case("mean", "120 samples, exponential", lambda g: mean_interval(g.exponential(1, 120)), 1)
    yield Case("mean", "5 values, normal", lambda g: mean_interval(g.normal(size=5)), 0)
    for n in (40, 120, 500):
        yield Case("CKA", f"{n} samples x 16 features", partial(_cka, n=n), slow=True)


def measure(case: Case, draws: int, seed: int = 0) -> Result:
    """Return the coverage of one case; an estimate without an interval counts as no draw."""
    generator = np.random.default_rng(seed)
    estimates = [case.draw(generator) for _ in range(max(20, draws // 10) if case.slow else draws)]
    values = np.array([estimate[:3] for estimate in estimates])
    values = values[~np.isnan(values).any(axis=1)]
    truth = values[:, 0].mean() if math.isnan(case.truth) else case.truth
    covered = (values[:, 1] <= truth) & (truth <= values[:, 2])
    interval = Counter(estimate.interval for estimate in estimates).most_common(1)[0][0]
    return Result(case, float(covered.mean()), float((values[:, 2] - values[:, 1]).mean()), interval)


def section(results: list[Result], draws: int, origin: str) -> str:
    """Return the section of the page as Markdown."""
    rows = []
    for case, coverage, width, interval in results:
        percent = f"{100 * coverage:.0f} %"
        percent = f"**{percent}**" if coverage < 0.9 else percent
        rows.append([case.kind + (" *" if case.slow else ""), interval, case.setting, percent, f"{width:.3g}"])
    error = [50 / math.sqrt(count) for count in (draws, max(20, draws // 10))]
    text = TEXT.format(error=error[0], slow_error=error[1])
    columns = ["value", "interval", "setting, true value", "coverage", "width"]
    return "\n".join([HEADING, "", text, origin, "", table(columns, rows)])


def _binomial(g: np.random.Generator, n: int, p: float) -> Estimate:
    return clopper_pearson(int(g.binomial(n, p)), n)


def _difference(g: np.random.Generator) -> Estimate:
    return difference(_binomial(g, 120, 0.95), _binomial(g, 480, 0.85))


def _sides(g: np.random.Generator, m: int, n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    return g.normal(shift, 1, m), g.normal(size=n)


def _tpr(g: np.random.Generator, m: int, n: int, shift: float, fpr: float) -> Estimate:
    return tpr_at_fprs(*_sides(g, m, n, shift), [fpr])[fpr]


def _changed(g: np.random.Generator, n: int, part: float, scale: float = 1) -> np.ndarray:
    """Return n values of which a part is uniform in 0..scale, and the others 0."""
    return scale * (g.random(n) < part) * g.random(n)


def _by_person(g: np.random.Generator) -> Estimate:
    right = g.beta(4, 1, 60)  # mean 0.8
    groups = np.repeat(np.arange(60), 10)
    return proportion(g.random(600) < right[groups], groups=groups)


def _of_labels(g: np.random.Generator) -> Estimate:
    wrong = (g.random((120, 1)) < 0.14) & (g.random((120, 3)) < 0.1 / 0.14)
    return proportion(1 - wrong.mean(axis=1))


def _balanced(g: np.random.Generator, counts: tuple[int, ...]) -> Estimate:
    labels = np.repeat(np.arange(len(counts)), counts)
    predicted = np.where(g.random(len(labels)) < 0.8, labels, (labels + 1) % len(counts))
    return balanced_accuracy(np.eye(len(counts))[predicted], labels)


def _calibration(g: np.random.Generator) -> Estimate:
    logits = g.normal(0, 2, (500, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return calibration_error(logits, (p.cumsum(axis=1) < g.random((500, 1))).sum(axis=1).clip(max=3))


def _completeness(g: np.random.Generator) -> Estimate:
    first = np.where(g.random((120, 3)) < 0.4, 1.0, -1.0)
    return completeness(first, first * np.where(g.random((120, 3)) < 0.05, -1, 1), prediction="threshold")


def _conformal(g: np.random.Generator, redrawn: bool) -> Estimate:
    """Estimate the deviation of the coverage at alpha 0.1 from its truth: that of this threshold, or of all."""
    q = quantile(g.random(100), 0.1)
    truth = 91 / 101 if redrawn else q
    estimate = clopper_pearson(int((g.random(500) <= q).sum()), 500)
    return estimate._replace(value=estimate.value - truth, low=estimate.low - truth, high=estimate.high - truth)


def _auc_by_person(g: np.random.Generator) -> Estimate:
    groups = np.repeat(np.arange(60), 10)
    members, others = math.sqrt(0.8) * g.normal(size=(2, 60))[:, groups] + math.sqrt(0.2) * g.normal(size=(2, 600))
    return delong(members + 1, others, member_groups=groups, non_member_groups=groups + 60)


def _lira(g: np.random.Generator, models: int, effect: float) -> LikelihoodAttack:
    member = np.argsort(g.random((models, 100)), axis=0) < models // 2
    return lira(g.normal(size=(models, 100)) + g.normal(size=100) + effect * member, member, variance="global")


def _u_lira(g: np.random.Generator, models: int, effect: float, between: float = 0) -> LikelihoodAttack:
    signals = g.normal(size=(models, 100)) + g.normal(size=100) + between * g.normal(size=(models, 1))
    half = models // 2
    return u_lira(signals[:half] + effect, signals[half:], variance="global", fprs=(0.1,))


def _population(g: np.random.Generator) -> dict[str, Estimate]:
    unlearned, retrained = (Models(x, x) for x in (g.normal(1, 1, (16, 20)), g.normal(size=(16, 20))))
    return population_metrics(unlearned, retrained, resamples=20)


def _gap(g: np.random.Generator, m: int, n: int, sd: float = 1) -> Estimate:
    values = g.normal(0, math.sqrt(1 - sd**2)) + g.normal(0, sd, m)
    gap = gap_to_reference(values, g.normal(size=n))
    return Estimate(gap.gap, gap.low, gap.high, n, gap.interval)


def _cka(g: np.random.Generator, n: int) -> Estimate:
    x = g.normal(size=(n, 16)) * np.linspace(0.2, 2, 16)
    return cka_estimate(x, x + g.normal(size=(n, 16)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="replace the section of this page as well")
    parser.add_argument("--short", action="store_true", help="4 draws of every sixth case")
    arguments = parser.parse_args()
    draws = 4 if arguments.short else arguments.draws
    started = time.perf_counter()
    step = 6 if arguments.short else 1
    results = [
        measure(case, draws)
        for group in (proportions, attacks, populations, means)
        for case in itertools.islice(group(), 0, None, step)
    ]
    origin = (
        f"Generated on {datetime.date.today():%Y-%m-%d} by `OMP_NUM_THREADS=1 python benchmarks/coverage.py --draws "
        f"{draws} --out docs/power.md` on one core of a {platform.system()} {platform.machine()} machine in "
        f"{time.perf_counter() - started:.0f} s. Seed 0."
    )
    text = section(results, draws, origin)
    print(text)
    if arguments.out is not None:
        page = replace_section(arguments.out.read_text(encoding="utf-8"), text)
        arguments.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
