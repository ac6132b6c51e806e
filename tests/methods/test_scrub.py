import copy
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

from raybench.engine.losses import distillation
from raybench.errors import UserError

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


def gap(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for s, z in zip(student, teacher):
        p, q = torch.softmax(z / t, 0), torch.softmax(s / t, 0)
        total = total + (p * (p.log() - q.log())).sum()
    return t**2 * total / len(student)


def plain_scrub(
    model: nn.Module,
    *,
    lr: float,
    epochs: int,
    maximize: int,
    t: float,
    min_first: bool,
    momentum: float = 0.9,
    decay: float = 5e-4,
) -> nn.Module:
    teacher, student = copy.deepcopy(model).eval(), copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(student.parameters(), lr, momentum, decay)
    (x_f, _), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    for epoch in range(epochs):
        for part in ("min", "max") if min_first else ("max", "min"):
            if part == "max" and epoch < maximize:
                sgd.step(-gap(student(x_f), teacher(x_f).detach(), t))
            if part == "min":
                logits = student(x_r)
                sgd.step(nn.functional.cross_entropy(logits, y_r) + gap(logits, teacher(x_r).detach(), t))
    return student


@pytest.mark.parametrize("norm", [False, True])
def test_scrub_maximizes_on_forget_before_it_minimizes_on_retain(norm: bool) -> None:
    model = tiny.net(norm=norm)
    expected = plain_scrub(model, lr=0.01, epochs=3, maximize=2, t=4.0, min_first=False)
    result = tiny.plain("scrub", model, FORGET, RETAIN, lr=0.01, epochs=3, max_epochs=2, batch_size=8)
    tiny.assert_same(result, expected)


@pytest.mark.parametrize(
    ("preset", "options", "released"),
    [
        (
            "mufac",
            {},
            {"lr": 0.001, "epochs": 2, "maximize": 2, "t": 4.0, "min_first": True, "momentum": 0, "decay": 0},
        ),
        (
            "mucac_binary",
            {},
            {"lr": 1e-4, "epochs": 1, "maximize": 1, "t": 4.0, "min_first": True, "momentum": 0, "decay": 0},
        ),
        ("conformal", {"epochs": 8}, {"lr": 0.1, "epochs": 8, "maximize": 6, "t": 2.0, "min_first": False}),
        ("uuef", {"epochs": 3}, {"lr": 0.01, "epochs": 3, "maximize": 3, "t": 1.0, "min_first": False}),
        ("uuef", {"epochs": 12}, {"lr": 0.01, "epochs": 12, "maximize": 12, "t": 1.0, "min_first": False}),
        (
            "mufac",
            {"epochs": 4},
            {"lr": 0.001, "epochs": 4, "maximize": 4, "t": 4.0, "min_first": True, "momentum": 0, "decay": 0},
        ),
        (
            "mucac_binary",
            {"epochs": 3},
            {"lr": 1e-4, "epochs": 3, "maximize": 3, "t": 4.0, "min_first": True, "momentum": 0, "decay": 0},
        ),
    ],
)
def test_a_preset_is_the_released_loop_weight_for_weight(preset: str, options: Any, released: Any) -> None:
    model = tiny.net(norm=True)
    expected = plain_scrub(model, **released)
    tiny.assert_same(tiny.plain("scrub", model, FORGET, RETAIN, preset=preset, batch_size=256, **options), expected)


def test_the_divergence_is_zero_at_the_start_and_the_student_moves() -> None:
    model = tiny.net()
    x, _ = tiny.stack(FORGET)
    assert float(distillation(model(x), model(x), 4.0).detach()) == 0
    assert tiny.distance(tiny.plain("scrub", model, FORGET, RETAIN, epochs=1), model) > 0


def test_the_multi_label_preset_never_maximizes_and_reads_independent_labels_as_one_choice() -> None:
    forget, retain = tiny.samples(4, seed=1, multi_label=True), tiny.samples(8, seed=2, multi_label=True)
    model = tiny.net(norm=True)
    teacher, student = copy.deepcopy(model), copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(student.parameters(), 0.001, 0, 0)
    x, y = tiny.stack(retain)
    for _ in range(2):
        logits = student(x)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y.double())
        sgd.step(loss + gap(logits, teacher(x).detach(), 4.0))
    tiny.assert_same(tiny.plain("scrub", model, forget, retain, preset="mucac_multilabel", batch_size=64), student)


def test_by_default_label_vectors_diverge_label_by_label() -> None:
    student, teacher = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    p, q = torch.sigmoid(teacher / 2), torch.sigmoid(student / 2)
    expected = 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(1).mean()
    assert float(distillation(student, teacher, 2.0, multi_label=True)) == pytest.approx(float(expected))


@pytest.mark.parametrize("value", [-1, 1.5, "some"])
def test_the_number_of_maximizing_epochs_is_a_natural_number_or_all(value: object) -> None:
    with pytest.raises(UserError, match=r"methods\.scrub\.max_epochs"):
        tiny.plain("scrub", tiny.net(), FORGET, RETAIN, max_epochs=value)


def test_the_step_caps_end_a_pass_early() -> None:
    forget, retain = tiny.samples(12, seed=1), tiny.samples(20, seed=2)
    ledger = tiny.outcome("scrub", tiny.net(), forget, retain, epochs=1, max_steps=2, min_steps=3).ledger
    assert ledger.steps == 5
