"""Time LiRA for all targets, epsilon and ROC curves against the usual loops, on the same arrays in one run.

    OMP_NUM_THREADS=1 python benchmarks/likelihood.py [--rounds 5] [--only ROC] [--short]

Baselines: LiRA as a loop over samples that fits two normals with numpy and evaluates them with scipy, for one target,
measured on 1,000 samples and scaled to all targets and samples; U-LiRA likewise; epsilon as released, a loop over
samples with scipy densities and scikit-learn's det_curve, on 100 samples and scaled; scikit-learn's roc_curve. One
process, one thread. Rounds alternate between the two sides, CPU seconds are counted, and the median of the ratios is
printed with its range. The results must agree. Goals: 2,000 for LiRA at 256 x 10,000, 0.1 s for epsilon. --short runs
every case once on small arrays.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm
from sklearn.metrics import det_curve, roc_curve

from raybench.metrics.functions.epsilon import per_sample
from raybench.metrics.functions.leave_one_out import left_out_scores
from raybench.metrics.functions.roc import roc

SAMPLES = 1000  # of the LiRA loop


class Case(NamedTuple):
    """One comparison: the baseline does 1 / `scale` of the work of ours; `check` returns the largest difference."""

    name: str
    ours: Callable[[], Any]
    plain: Callable[[], Any]
    scale: float
    check: Callable[[Any, Any], float]


def plain_scores(x: np.ndarray, trained: np.ndarray, target: int, samples: int) -> np.ndarray:
    """Return one target's scores, sample by sample."""
    others = np.arange(len(x)) != target
    scores = []
    for i in range(samples):
        inside, outside = x[trained[:, i] & others, i], x[~trained[:, i] & others, i]
        above = norm.logpdf(x[target, i], inside.mean(), inside.std(ddof=1))
        scores.append(above - norm.logpdf(x[target, i], outside.mean(), outside.std(ddof=1)))
    return np.array(scores)


def plain_epsilon(unlearned: np.ndarray, retrained: np.ndarray, delta: float = 0.05) -> np.ndarray:
    """Return epsilon as released, sample by sample."""
    bounds = []
    labels = np.repeat([0, 1], [len(retrained), len(unlearned)])
    for u, r in zip(unlearned.T, retrained.T):
        both = np.concatenate([r, u])
        scores = norm.pdf(both, u.mean(), u.std()) / norm.pdf(both, r.mean(), r.std())
        reversed_ = np.median(scores[labels == 0]) > np.median(scores[labels == 1])
        fpr, fnr, _ = det_curve(1 - labels if reversed_ else labels, scores)
        best = -np.inf
        for p, n in zip(fpr, fnr):
            if p == 0 and n == 0:
                best = np.inf
            elif p > 0 and n > 0:
                if 1 - delta > p:
                    best = max(best, np.log(1 - delta - p + 1e-8) - np.log(n + 1e-8))
                if 1 - delta > n:
                    best = max(best, np.log(1 - delta - n + 1e-8) - np.log(p + 1e-8))
        bounds.append(best)
    return np.array(bounds)


def lira_case(models: int, samples: int) -> Case:
    rng = np.random.default_rng(0)
    trained = rng.random((models, samples)) < 0.5
    x = rng.normal(size=(models, samples)) + 3 * rng.normal(size=samples) + trained
    return Case(
        f"LiRA {models} x {samples}, all targets",
        lambda: left_out_scores(x, trained, "online", "per_example"),
        lambda: plain_scores(x, trained, 3, min(SAMPLES, samples)),
        models * samples / min(SAMPLES, samples),
        lambda ours, plain: float(np.abs(ours[3, : len(plain)] - plain).max()),
    )


def u_lira_case(models: int, samples: int) -> Case:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2 * models, samples))
    looped = min(SAMPLES, samples)
    trained = np.broadcast_to((np.arange(2 * models) < models)[:, None], x.shape)
    return Case(
        f"U-LiRA {models} + {models} x {samples}",
        lambda: left_out_scores(x, trained, "online", "per_example"),
        lambda: plain_scores(x, trained, 3, looped),
        2 * models * samples / looped,
        lambda ours, plain: float(np.abs(ours[3, : len(plain)] - plain).max()),
    )


def epsilon_case(models: int, samples: int) -> Case:
    rng = np.random.default_rng(0)
    unlearned, retrained = rng.normal(0.5, 1.2, (models, samples)), rng.normal(size=(models, samples))
    part = min(100, samples)
    return Case(
        f"epsilon {models} + {models} x {samples}",
        lambda: per_sample(unlearned, retrained),
        lambda: plain_epsilon(unlearned[:, :part], retrained[:, :part]),
        samples / part,
        lambda ours, plain: float(np.abs(ours[:part] - plain)[np.isfinite(plain)].max()),
    )


def roc_case(scores: int) -> Case:
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.5, 1, scores // 2), rng.normal(size=scores // 2)
    labels, joined = np.repeat([1, 0], scores // 2), np.concatenate([members, others])
    return Case(
        f"ROC of {scores} scores",
        lambda: roc(members, others),
        lambda: roc_curve(labels, joined, drop_intermediate=False),
        1,
        lambda ours, plain: float(np.abs(ours.tpr - plain[1]).max()),
    )


def cases(short: bool) -> list[Case]:
    if short:
        return [lira_case(16, 100), u_lira_case(16, 100), epsilon_case(20, 20), roc_case(20_000)]
    return [
        *(lira_case(*size) for size in ((64, 1000), (64, 10_000), (256, 1000), (256, 10_000))),
        u_lira_case(128, 10_000),
        epsilon_case(80, 1000),
        epsilon_case(512, 1000),
        roc_case(2_560_000),
    ]


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="run only the cases whose names start with this")
    parser.add_argument("--short", action="store_true", help="run every case once on small arrays")
    arguments = parser.parse_args()
    rounds = 1 if arguments.short else arguments.rounds
    print(f"{platform.machine()}, numpy {np.__version__}, CPU seconds, {rounds} rounds")
    for case in cases(arguments.short):
        if not case.name.startswith(arguments.only):
            continue
        case.ours()
        ours, plain, ratios = [], [], []
        for _ in range(rounds):
            seconds, result = cpu_seconds(case.ours)
            slow, expected = cpu_seconds(case.plain)
            ours.append(seconds)
            plain.append(slow * case.scale)
            ratios.append(plain[-1] / seconds)
        print(
            f"{case.name:30}  ours {statistics.median(ours):8.4f}   loop {statistics.median(plain):9.3f}   "
            f"{statistics.median(ratios):6.1f}x ({min(ratios):.1f} to {max(ratios):.1f})   "
            f"difference {case.check(result, expected):.0e}",
            flush=True,
        )
    if not "epsilon".startswith(arguments.only):
        return
    rng, size = np.random.default_rng(0), (20, 50) if arguments.short else (80, 1000)
    pair = rng.normal(0.5, 1.2, size), rng.normal(size=size)
    for estimator in ("threshold", "cross_fitted", "gaussian", "competition"):
        times = [cpu_seconds(lambda: per_sample(*pair, estimator=estimator))[0] for _ in range(rounds)]  # noqa: B023
        print(f"epsilon {size[0]} + {size[0]} x {size[1]}, {estimator:13} {statistics.median(times):8.4f} s")


if __name__ == "__main__":
    main()
