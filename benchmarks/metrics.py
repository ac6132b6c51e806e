"""Time the metrics against the algorithms of the papers, written plainly, on the same arrays in one run.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/metrics.py [--full] [--rounds 3] [--short]

Baselines: CKA from Gram matrices and a dense centering matrix (float32, torch); scikit-learn's brute-force cosine k-NN;
for conformal sets a pass of a DataLoader (batches of 64, logits in memory) for each alpha; for MIACR an SVC with
cross-validated probabilities; for the SVC attack the same SVC on every point.
One process, one thread. Rounds alternate between the two sides, CPU seconds are counted, and the ratio of the medians
is printed. Both sides must give the same number. --full adds the sizes that take minutes (the baseline of CKA at 5,000
rows takes 30 s). On Linux the memory that k-NN and CKA need beyond their inputs follows, each measured in its own
process. --short runs every kind of case once on small arrays.
"""

import argparse
import math
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch.utils.data import DataLoader, TensorDataset

from raybench.metrics.functions.cka import cka
from raybench.metrics.functions.conformal_sets import coverage_ratio
from raybench.metrics.functions.knn import knn_predict
from raybench.metrics.functions.miacr import membership_coverage_ratio, membership_probabilities
from raybench.metrics.functions.svc_attack import svc

ALPHAS = (0.05, 0.1, 0.15, 0.2)


class Case(NamedTuple):
    """One comparison; the `difference` of the two results must not exceed `allowed`."""

    name: str
    ours: Callable[[], Any]
    plain: Callable[[], Any]
    difference: Callable[[Any, Any], float]
    allowed: float
    goal: float
    rounds: int = 0  # 0: as many as --rounds


def plain_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """Return biased linear CKA as released: six Gram matrices, each centered by two dense n^3 products."""
    n = len(x)

    def hsic(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        centering = torch.eye(n) - torch.ones(n, n) / n
        return ((centering @ (a @ a.T) @ centering) * (centering @ (b @ b.T) @ centering)).sum()

    return float(hsic(x, y) / (hsic(x, x).sqrt() * hsic(y, y).sqrt()))


def plain_coverage_ratio(split: TensorDataset, calibration: TensorDataset, alphas: tuple[float, ...]) -> np.ndarray:
    """Return CR at each alpha as released: a loader over each set, and a softmax of every batch, for each alpha."""
    ratios = []
    for alpha in alphas:
        outputs, labels = zip(
            *((torch.softmax(batch, dim=1), y) for batch, y in DataLoader(calibration, 64)), strict=True
        )
        p, y, n = torch.cat(outputs), torch.cat(labels), len(calibration)
        scores = 1 - p[torch.arange(n), y]
        qhat = np.quantile(scores.numpy(), math.ceil((n + 1) * (1 - alpha)) / n, method="higher")
        covered = size = torch.zeros(())
        for batch, y in DataLoader(split, 64):
            sets = 1 - torch.softmax(batch, dim=1) <= qhat
            size = size + sets.sum()
            covered = covered + sets[torch.arange(len(batch)), y].float().sum()
        ratios.append(float(covered / size))
    return np.array(ratios)


def plain_miacr(members: np.ndarray, others: np.ndarray, targets: np.ndarray, calibration: np.ndarray) -> float:
    """Return the fraction of targets without `member` in the set, by an SVC with its internal cross-validation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn deprecates `probability`
        machine = SVC(C=3, gamma="auto", probability=True, random_state=0)
        machine.fit(np.concatenate([members, others])[:, None], np.repeat([1, 0], [len(members), len(others)]))
    scores, n = 1 - machine.predict_proba(calibration[:, None])[:, 1], len(calibration)
    qhat = np.quantile(scores, math.ceil((n + 1) * 0.95) / n, method="higher")
    return float(1 - np.mean(1 - machine.predict_proba(targets[:, None])[:, 1] <= qhat))


def cka_case(n: int, d: int, goal: float, rounds: int = 0) -> Case:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator)
    y = x + torch.randn(n, d, generator=generator)
    return Case(
        f"CKA {n} x {d}",
        lambda: cka(x, y, "biased"),
        lambda: plain_cka(x, y),
        lambda a, b: abs(a - b),
        1e-5,
        goal,
        rounds,
    )


def knn_case(bank: int, queries: int, d: int, goal: float) -> Case:
    rng = np.random.default_rng(0)
    centers = 0.1 * rng.normal(size=(10, d))
    labels, hidden = rng.integers(10, size=bank), rng.integers(10, size=queries)
    rows = (centers[labels] + rng.normal(size=(bank, d))).astype(np.float32)
    points = (centers[hidden] + rng.normal(size=(queries, d))).astype(np.float32)

    def plain() -> np.ndarray:
        return KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(rows, labels).predict(points)

    # two neighbors within 1e-7 may change places in float32
    return Case(
        f"k-NN {bank} x {queries} x {d}",
        lambda: knn_predict(rows, labels, points),
        plain,
        lambda a, b: float(np.mean(a != b)),
        0.001,
        goal,
    )


def conformal_case(n: int, num_classes: int, alphas: tuple[float, ...], goal: float) -> Case:
    rng = np.random.default_rng(0)
    labels = rng.integers(num_classes, size=n + 2000)
    logits = (rng.normal(size=(n + 2000, num_classes)) + 3 * np.eye(num_classes)[labels]).astype(np.float32)
    parts = [logits[2000:], labels[2000:], logits[:2000], labels[:2000]]
    split, calibration = (TensorDataset(*map(torch.from_numpy, parts[i : i + 2])) for i in (0, 2))
    return Case(
        f"conformal {n} x {num_classes}, {len(alphas)} alpha",
        lambda: coverage_ratio(*parts, alphas=alphas, rule="numpy_higher").ratio,
        lambda: plain_coverage_ratio(split, calibration, alphas),
        lambda a, b: float(np.abs(a - b).max()),
        1e-5,
        goal,
    )


def miacr_case(n: int, goal: float, rounds: int = 0) -> Case:
    rng = np.random.default_rng(0)
    members, others = rng.beta(6, 1, n), rng.beta(3, 1.2, n)
    targets, calibration = rng.beta(4, 1.1, 2000), rng.beta(6, 1, 2000)

    def ours() -> float:
        p = membership_probabilities(members, others, np.concatenate([targets, calibration]))
        result = membership_coverage_ratio(p[:2000], p[2000:], variant="member_excluded", rule="numpy_higher")
        return result.ratio.value

    return Case(
        f"MIACR, {n} per side",
        ours,
        lambda: plain_miacr(members, others, targets, calibration),
        lambda a, b: abs(a - b),
        0.02,
        goal,
        rounds,
    )


def svc_case(n: int, goal: float, rounds: int = 0) -> Case:
    rng = np.random.default_rng(0)
    members, others, targets = rng.beta(6, 1, n), rng.beta(3, 1.2, n), rng.beta(4, 1.1, 2000)

    def plain() -> float:
        machine = SVC(C=3, gamma="auto")
        machine.fit(np.concatenate([members, others])[:, None], np.repeat([1, 0], n))
        return float(np.mean(machine.predict(targets[:, None]) == 0))

    return Case(
        f"SVC attack, {n} per side",
        lambda: svc(members, others, targets).efficacy.value,
        plain,
        lambda a, b: abs(a - b),
        0.002,
        goal,
        rounds,
    )


def short_cases() -> Iterator[Case]:
    yield cka_case(100, 32, 1)
    yield knn_case(500, 100, 32, 1)
    yield conformal_case(500, 10, ALPHAS, 1)
    yield miacr_case(1000, 1)
    yield svc_case(1000, 1)


def cases(full: bool) -> Iterator[Case]:
    yield cka_case(1000, 512, 10)
    yield cka_case(2000, 512, 40)
    yield cka_case(1000, 2048, 3)
    yield knn_case(10_000, 2000, 512, 1)
    yield conformal_case(45_000, 10, ALPHAS[:1], 15)
    yield conformal_case(45_000, 10, ALPHAS, 30)
    yield conformal_case(45_000, 100, ALPHAS, 30)
    yield conformal_case(20_000, 1000, ALPHAS, 4)
    yield miacr_case(2000, 28)
    yield svc_case(2000, 3)
    if full:
        yield cka_case(5000, 512, 300, rounds=1)
        yield cka_case(5000, 2048, 20, rounds=1)
        yield knn_case(10_000, 2000, 2048, 1)
        yield knn_case(50_000, 2000, 512, 1)
        yield miacr_case(5000, 100, rounds=1)
        yield svc_case(10_000, 50, rounds=1)


def extra_memory(case: str, n: int, ours: bool) -> float:
    """Return by how many MiB this process's peak exceeds what it holds with the inputs alone."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 512), dtype=np.float32), rng.standard_normal((n, 512), dtype=np.float32)
    labels = rng.integers(10, size=n)
    torch.set_num_threads(1)
    if case == "CKA":
        x, y = torch.from_numpy(x), torch.from_numpy(y)  # type: ignore[assignment]
        work = (lambda: cka(x, y, "biased")) if ours else (lambda: plain_cka(x, y))  # type: ignore[arg-type]
    else:
        points = y[:2000].copy()
        del y
        neighbors = KNeighborsClassifier(5, metric="cosine", algorithm="brute")
        work = lambda: knn_predict(x, labels, points) if ours else neighbors.fit(x, labels).predict(points)  # noqa: E731
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status("VmHWM")
    work()
    return _status("VmHWM") - before


def _status(key: str) -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1]) / 1024


def memory() -> None:
    print(f"\n{'extra memory in MiB':32}{'ours':>10}{'plain':>10}")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for case, n, plain in (("k-NN", 50_000, True), ("CKA", 2_000, True), ("CKA", 50_000, False)):
            peaks = [pool.submit(extra_memory, case, n, ours).result() for ours in (True, False)[: 1 + plain]]
            name = f"{case} {n} x {'2000 x ' if case == 'k-NN' else ''}512"
            print(f"{name:32}" + "".join(f"{value:10.0f}" for value in peaks), flush=True)


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="add the sizes that take minutes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="run every kind of case once on small arrays")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, numpy {np.__version__}, CPU seconds, medians")
    print(f"{'':32}{'ours':>10}{'plain':>10}{'ratio':>8}{'goal':>8}{'difference':>13}")
    failures = []
    for case in short_cases() if arguments.short else cases(arguments.full):
        case.ours()
        pairs = [
            (cpu_seconds(case.ours), cpu_seconds(case.plain))
            for _ in range(1 if arguments.short else case.rounds or arguments.rounds)
        ]
        ours, plain = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
        difference = case.difference(pairs[0][0][1], pairs[0][1][1])
        print(
            f"{case.name:32}{ours:10.4f}{plain:10.3f}{plain / ours:8.1f}{case.goal:8.0f}{difference:13.1e}", flush=True
        )
        if difference > case.allowed:
            failures.append(f"{case.name}: the results differ by {difference:.1e}, more than {case.allowed:.0e}")
    if sys.platform == "linux" and arguments.short:
        print(f"extra memory of CKA 500 x 512: {extra_memory('CKA', 500, True):.0f} MiB")
    elif sys.platform == "linux":
        memory()
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
