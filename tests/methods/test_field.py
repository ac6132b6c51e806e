"""npo, delete, jit and task_negation."""

import copy
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F

from raybench.data.reading.batches import seed_for

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


@pytest.mark.parametrize("retain_weight", [0.0, 1.0])
def test_npo_is_the_preference_loss_against_the_original(retain_weight: float) -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(student.parameters(), 0.05)
    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    before = torch.softmax(model(x_f), 1)[range(4), y_f].detach()
    for _ in range(3):
        retain = F.cross_entropy(student(x_r), y_r) if retain_weight else 0.0
        p = torch.softmax(student(x_f), 1)[range(4), y_f]
        sgd.step(2 / 0.3 * torch.log(1 + (p / before) ** 0.3).mean() + retain_weight * retain)
    options = {"lr": 0.05, "beta": 0.3, "retain_weight": retain_weight, "batch_size": 8, "epochs": 3}
    tiny.assert_same(tiny.plain("npo", model, FORGET, RETAIN, **options), student)


def test_npo_lowers_the_likelihood_of_forget_labels() -> None:
    model = tiny.net()
    result = tiny.plain("npo", model, FORGET, RETAIN, lr=0.1, epochs=5, retain_weight=0.0)
    x, y = tiny.stack(FORGET)
    assert F.cross_entropy(result(x), y) > F.cross_entropy(model(x), y)


def test_delete_distils_the_original_without_the_true_class() -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(student.parameters(), 0.05)
    x, y = tiny.stack(FORGET)
    chances = torch.softmax(model(x), 1).detach()
    chances[range(4), y] = 0
    chances = chances / chances.sum(1, keepdim=True)
    for _ in range(3):
        logs = torch.log_softmax(student(x), 1)
        rows = [sum(p * (p.log() - q) for p, q in zip(ps, qs) if p > 0) for ps, qs in zip(chances, logs)]
        sgd.step(torch.stack(rows).mean())
    tiny.assert_same(tiny.plain("delete", model, FORGET, RETAIN, lr=0.05, epochs=3), student)


def test_delete_reads_no_retain_data() -> None:
    model = tiny.net()
    one = tiny.plain("delete", model, FORGET, RETAIN, epochs=1)
    assert tiny.distance(one, tiny.plain("delete", model, FORGET, tiny.samples(3, seed=8), epochs=1)) == 0


@pytest.mark.parametrize("bn_mode", ["frozen", "train"])
def test_jit_lowers_the_slope_of_the_logits_around_forget_samples(bn_mode: str) -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train(bn_mode == "train")
    sgd = tiny.PlainSGD(student.parameters(), 0.05)
    x, _ = tiny.stack(FORGET)
    with torch.random.fork_rng():
        torch.manual_seed(seed_for("torch", 0))
        for _ in range(2):
            logits, total = student(x), torch.zeros(()).double()
            for _ in range(3):
                noise = 0.8 * torch.randn_like(x)
                moved = student(x + noise)
                for i in range(4):
                    total = total + (logits[i] - moved[i]).norm() / noise[i].norm() / 12
            sgd.step(total)
    options: dict[str, Any] = {"bn_mode": bn_mode} if bn_mode == "train" else {}
    tiny.assert_same(tiny.plain("jit", model, FORGET, RETAIN, lr=0.05, epochs=2, draws=3, **options), student)


def test_task_negation_steps_back_along_the_fine_tuning_of_a_copy() -> None:
    model = tiny.net(norm=True)
    tuned = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(tuned.parameters(), 0.05)
    x, y = tiny.stack(FORGET)
    for _ in range(3):
        sgd.step(F.cross_entropy(tuned(x), y))
    result = tiny.plain("task_negation", model, FORGET, RETAIN, lr=0.05, epochs=3, scale=0.7)
    for new, old, far in zip(result.parameters(), model.parameters(), tuned.parameters()):
        assert torch.allclose(new, old - 0.7 * (far - old), atol=1e-12)
    assert torch.equal(result[1].running_mean, model[1].running_mean)
