import copy
import math
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F

import raybench
from raybench.errors import UserError
from raybench.methods.cpu import conformal_hinge, conformal_rank, conformal_threshold

FORGET, RETAIN, CALIBRATION = tiny.samples(4, seed=1), tiny.samples(8, seed=2), tiny.samples(30, seed=3)


def unlearn(model: torch.nn.Module, **options: Any) -> torch.nn.Module:
    data: dict[str, Any] = {"forget": FORGET, "retain": RETAIN, "calibration": CALIBRATION}
    return raybench.unlearn(model, method="cpu", **{"shuffle": False, "batch_size": 64, **data, **options})


def hinge(p: list[list[float]], y: list[int], qhat: float, over: str = "per_sample") -> float:
    return float(
        conformal_hinge(torch.tensor(p).double(), torch.tensor(y), torch.tensor(qhat).double(), 0.01, over=over)
    )


def test_the_hinge_of_the_example_is_066_per_sample_and_036_over_all_pairs() -> None:
    p, y = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], [0, 1]
    assert hinge(p, y, 0.9) == pytest.approx(0.66)
    assert hinge(p, y, 0.9, "all_pairs") == pytest.approx(0.36)


def test_the_hinge_switches_off_where_the_label_is_outside_by_the_margin() -> None:
    assert hinge([[0.5, 0.5]], [0], 0.9) == pytest.approx(0.41)
    assert hinge([[0.01, 0.99]], [0], 0.9) == 0
    assert hinge([[0.09, 0.91]], [0], 0.9) == pytest.approx(0)
    assert hinge([[0.0, 1.0]], [0], 0.995) == pytest.approx(0.005)


def test_the_hinge_of_no_rows_is_exactly_zero() -> None:
    empty = torch.zeros(0, 3, requires_grad=True)
    loss = conformal_hinge(empty, torch.zeros(0, dtype=torch.long), torch.tensor(0.9), 0.01, over="per_sample")
    assert float(loss.detach()) == 0
    loss.backward()


def test_both_hinges_agree_where_all_labels_are_equal() -> None:
    p = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]
    assert hinge(p, [1, 1, 1], 0.9) == pytest.approx(hinge(p, [1, 1, 1], 0.9, "all_pairs"))


@pytest.mark.parametrize(
    ("scores", "alpha", "exact", "higher"),
    [
        ([i / 10 for i in range(1, 11)], 0.5, 0.6, 0.7),
        ([i / 10 for i in range(1, 11)], 0.2, 0.9, 1.0),
        ([i / 10 for i in range(1, 11)], 0.1, 1.0, 1.0),
        ([0.01, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.90], 0.1, 0.9, 0.9),
        (list(range(1, 40)), 0.05, 38, 39),
        (list(range(1, 20)), 0.05, 19, 19),
        (list(range(1, 2001)), 0.05, 1901, 1902),
        (list(range(1, 100)), 0.1, 90, 91),
    ],
)
def test_the_threshold_is_the_order_statistic_or_numpys_next(
    scores: list[float], alpha: float, exact: float, higher: float
) -> None:
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(np.array(scores, dtype=float)))
    assert float(conformal_threshold(shuffled, alpha, rule="exact")) == exact
    assert float(conformal_threshold(shuffled, alpha, rule="numpy_higher")) == higher


@pytest.mark.parametrize(("alpha", "n"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.15, 6), (0.2, 4)])
def test_an_alpha_needs_so_many_calibration_samples(alpha: float, n: int) -> None:
    assert conformal_rank(n, alpha) == n
    with pytest.raises(UserError, match=f"at least {n}"):
        conformal_rank(n - 1, alpha)


def plain_threshold(model: torch.nn.Module, *, higher: bool) -> float:
    x, y = tiny.stack(CALIBRATION)
    model.eval()
    scores = sorted(float(1 - p[label]) for p, label in zip(torch.softmax(model(x), 1).detach(), y))
    rank = math.ceil(31 * 0.95)
    return scores[min(rank, 29)] if higher else scores[rank - 1]


@pytest.mark.parametrize("released", [True, False])
def test_cpu_adds_the_hinge_to_fine_tuning(released: bool) -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model)
    sgd = tiny.PlainSGD(student.parameters(), 0.1)
    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    for epoch in range(3):
        sgd.lr = 0.1 * (1 + math.cos(math.pi * epoch / 3)) / 2
        threshold = plain_threshold(student, higher=released)
        student.train(not released)
        base = F.cross_entropy(student(x_r), y_r)
        p = torch.softmax(student(x_f), 1)
        total = torch.zeros(()).double()
        pairs = [(i, j) for i in range(4) for j in range(4) if released or i == j]
        for i, j in pairs:
            total = total + torch.clamp(threshold - (1 - p[i, y_f[j]]) + 0.01, min=0)
        sgd.step(base + 0.5 * total / len(pairs))
    options: dict[str, Any] = {"preset": "conformal"} if released else {"lr": 0.1}
    tiny.assert_same(unlearn(model, epochs=3, **options), student)


@pytest.mark.parametrize("base", ["retrain", "finetune", "random_label", "salun", "scrub", "neggrad_plus"])
def test_every_base_is_moved_by_the_hinge(base: str) -> None:
    model = tiny.net(norm=True)
    with_hinge, without = (unlearn(model, base=base, epochs=2, lambda_=weight) for weight in (5.0, 0.0))
    assert tiny.distance(with_hinge, without) > 1e-6


@pytest.mark.parametrize("preset", ["conformal", "conformal_random_label", "conformal_salun", "conformal_retrain"])
def test_the_presets_run(preset: str) -> None:
    result = unlearn(tiny.net(norm=True), preset=preset, epochs=2)
    assert all(bool(torch.isfinite(p).all()) for p in result.parameters())


def test_without_calibration_samples_it_says_so() -> None:
    with pytest.raises(UserError, match="calibration"):
        unlearn(tiny.net(), calibration=None)


def test_too_few_calibration_samples_are_refused_before_training() -> None:
    with pytest.raises(UserError, match="at least 19"):
        unlearn(tiny.net(), calibration=CALIBRATION[:10])


@pytest.mark.parametrize("base", ["ssd", "cpu"])
def test_a_base_that_takes_no_training_steps_is_refused(base: str) -> None:
    with pytest.raises(UserError, match="trains on batches"):
        unlearn(tiny.net(), base=base)


@pytest.mark.parametrize(("refresh", "passes"), [("fixed", 1), ("epoch", 3), ("step", 6)])
def test_the_threshold_is_refreshed_as_asked(refresh: str, passes: int) -> None:
    ledger = tiny.outcome(
        "cpu", tiny.net(), FORGET, RETAIN, calibration=CALIBRATION, refresh=refresh, epochs=3, batch_size=4
    ).ledger
    assert ledger.samples_forward - ledger.samples_backward == passes * 30
