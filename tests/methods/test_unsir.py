import copy
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F

from raybench.data.reading.batches import seed_for
from raybench.methods.unsir import learn_noise, repelled_noise

FORGET, RETAIN = tiny.samples(8, seed=1), tiny.samples(8, seed=2)


class PlainAdam:
    def __init__(self, z: torch.Tensor, lr: float) -> None:
        self.z, self.lr, self.t = z, lr, 0
        self.m, self.v = torch.zeros_like(z), torch.zeros_like(z)

    def step(self, gradient: torch.Tensor) -> None:
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.z = self.z - self.lr * m / (v.sqrt() + 1e-8)


@pytest.mark.parametrize(("preset", "train"), [("mufac", False), ("mucac_binary", True), ("mucac_multilabel", True)])
@pytest.mark.parametrize("repair", [0, 1])
def test_the_notebook_presets_are_the_released_loop(preset: str, train: bool, repair: int) -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train(train)
    labels = preset == "mucac_multilabel"
    forget, retain = (tiny.samples(8, seed=seed, multi_label=labels) for seed in (1, 2))
    (x_f, _), (x_r, y_r) = tiny.stack(forget), tiny.stack(retain)
    loss = F.binary_cross_entropy_with_logits if labels else F.cross_entropy
    y_r = y_r.double() if labels else y_r
    with torch.random.fork_rng():
        torch.manual_seed(seed_for("torch", 0))
        draws = [torch.randn_like(x_f) for _ in range(2)]
    sgd = tiny.PlainSGD(student.parameters(), 0.001, 0, 0)
    for z in draws:
        adam = PlainAdam(z, 0.01)
        for _ in range(5):
            probe = adam.z.clone().requires_grad_(True)
            logits = student(probe)  # the noise first, then the forget batch: the order of the notebooks
            target = student(x_f).detach()
            (gradient,) = torch.autograd.grad(-((logits - target) ** 2).mean(), probe)
            adam.step(gradient)
        noise = adam.z.clamp(0, 1)
        sgd.step(loss(student(noise), y_r) + loss(student(x_r), y_r))
    for _ in range(repair):
        sgd.step(loss(student(x_r), y_r))
    result = tiny.plain("unsir_mufac", model, forget, retain, preset=preset, batch_size=64, repair_epochs=repair)
    tiny.assert_same(result, student)


def test_published_noise_raises_the_loss_of_the_forgotten_labels() -> None:
    task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN)
    labels = torch.full((6,), 2)
    noise = torch.randn(6, 1, 6, 6).double().requires_grad_(True)
    with task.eval_mode() as model:
        before = float(F.cross_entropy(model(noise), labels).detach())
        learn_noise(task, noise, labels, steps=30, lr=0.1, penalty=0.0)
        assert float(F.cross_entropy(model(noise), labels).detach()) > before + 0.1


def test_published_noise_stays_short_under_its_penalty() -> None:
    task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN)
    noise = torch.randn(6, 1, 6, 6).double().requires_grad_(True)
    before = float(noise.detach().norm())
    learn_noise(task, noise, torch.full((6,), 2), steps=30, lr=0.1, penalty=10.0)
    assert float(noise.detach().norm()) < before / 2


def test_the_noise_of_both_forms_changes_with_the_forget_set() -> None:
    task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN)
    noises = []
    for label in (0, 1):
        noise = torch.zeros(2, 1, 6, 6).double().requires_grad_(True)
        learn_noise(task, noise, torch.full((2,), label), steps=3, lr=0.1, penalty=0.1)
        noises.append(noise.detach())
    assert not torch.equal(*noises)
    made = []
    for seed in (1, 7):
        x, _ = tiny.stack(tiny.samples(4, seed=seed))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made.append(repelled_noise(task, x, steps=5, lr=0.01))
    assert not torch.equal(*made)


def test_published_unsir_lowers_the_likelihood_of_a_forgotten_class_before_the_repair() -> None:
    model = tiny.plain("retrain", tiny.net(), FORGET, tiny.samples(30, seed=2), epochs=30, lr=0.1)
    forget = tiny.samples(8, seed=1, label=2)
    retain = [(x, int(y) % 2) for x, y in RETAIN]
    options: dict[str, Any] = {"lr": 0.02, "epochs": 3, "repair_epochs": 0, "noise_samples": 8}
    result = tiny.plain("unsir", model, forget, retain, **options)
    x, y = tiny.stack(forget)
    assert F.cross_entropy(result(x), y) > F.cross_entropy(model(x), y)


def test_label_vectors_get_noise_for_each_vector_of_the_forget_set() -> None:
    forget, retain = tiny.samples(6, multi_label=True), tiny.samples(8, multi_label=True, seed=3)
    ledger = tiny.outcome(
        "unsir", tiny.net(), forget, retain, noise_samples=2, noise_steps=3, epochs=1, repair_epochs=0, batch_size=8
    ).ledger
    vectors = len({tuple(y.tolist()) for _, y in forget})  # type: ignore[union-attr]
    assert ledger.samples_forward == vectors * 2 * 3 + 8 + 4


def test_published_unsir_learns_noise_impairs_and_repairs() -> None:
    model = tiny.net(norm=True)
    forget = tiny.samples(4, seed=1, label=2)
    x_r, y_r = tiny.stack(RETAIN)
    with torch.random.fork_rng():
        torch.manual_seed(seed_for("torch", 0))
        adam = PlainAdam(torch.randn(3, 1, 6, 6, dtype=torch.float64), 0.1)
    labels = torch.full((3,), 2)
    for _ in range(4):
        probe = adam.z.clone().requires_grad_(True)
        loss = -F.cross_entropy(model(probe), labels) + 0.1 * (probe**2).sum((1, 2, 3)).mean()
        (gradient,) = torch.autograd.grad(loss, probe)
        adam.step(gradient)
    noise = adam.z
    student = copy.deepcopy(model).train()
    rows = np.random.default_rng(seed_for("method", 0)).integers(0, 3, 4)
    first = torch.optim.Adam(student.parameters(), 0.02)
    F.cross_entropy(student(torch.cat([x_r, noise[rows]])), torch.cat([y_r, labels[rows]])).backward()
    first.step()
    second = torch.optim.Adam(student.parameters(), 0.01)
    second.zero_grad()
    F.cross_entropy(student(x_r), y_r).backward()
    second.step()
    options: dict[str, Any] = {"noise_samples": 3, "noise_steps": 4, "batch_size": 8}
    options |= {"optimizer": "adam", "weight_decay": 0.0, "lr": 0.02, "epochs": 1, "repair_lr": 0.01}
    options["repair_epochs"] = 1
    tiny.assert_same(tiny.plain("unsir", model, forget, RETAIN, **options), student, within=1e-6)
