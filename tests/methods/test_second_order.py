"""fisher_forgetting and influence: one-shot edits with second-order information."""

from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F

from raybench.engine.losses import log_likelihood
from raybench.methods.building_blocks.importance import expected_fisher, squared_gradients
from raybench.methods.fisher_forgetting import noise_variance
from raybench.methods.influence import recursion, woodbury

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


def plain_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)  # +1 instead of noise shows every standard deviation


def information(fisher: str) -> dict[str, torch.Tensor]:
    task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN)
    if fisher == "observed":
        return squared_gradients(task, task.retain(), rows=log_likelihood)
    return expected_fisher(task, task.retain())


def test_variance_noise_is_capped_averaged_and_larger_for_biases(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_noise(monkeypatch)
    model = tiny.net()
    result = tiny.plain("fisher_forgetting", model, FORGET, RETAIN, preset="conformal")
    for (name, new), old in zip(result.named_parameters(), model.parameters()):
        var = torch.minimum(1 / (information("expected")[name] + 1e-8), torch.tensor(1e3 if "8." not in name else 1e2))
        var = var * 1e-6
        var = var.mean(1, keepdim=True).expand_as(var) if var.ndim > 1 else var * 10
        assert torch.allclose(new, old + var.sqrt(), atol=1e-12)


def test_the_row_of_a_forgotten_class_becomes_noise_of_deviation_0032(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_noise(monkeypatch)
    forget = tiny.samples(4, seed=1, label=2)
    retain = [(x, int(y) % 2) for x, y in RETAIN]
    model = tiny.net()
    result = tiny.plain("fisher_forgetting", model, forget, retain, preset="conformal")
    assert result[-1].weight[2].tolist() == pytest.approx([1e-3**0.5] * 5)
    assert float(result[-1].bias[2].detach()) == pytest.approx(1e-3**0.5)
    assert float((result[-1].weight[0] - model[-1].weight[0]).abs().max().detach()) <= (1e-6 * 1e2 * 10) ** 0.5


def test_clamped_noise_is_at_most_a_thousandth(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_noise(monkeypatch)
    model = tiny.net()
    result = tiny.plain("fisher_forgetting", model, FORGET, RETAIN, preset="uuef", alpha=1e-9)
    for (name, new), old in zip(result.named_parameters(), model.parameters()):
        scale = (1e-9 / information("observed")[name]).sqrt().clamp(max=1e-3)
        assert torch.allclose(new, old + scale, atol=1e-12)


def test_the_variance_of_an_unused_weight_is_its_cap() -> None:
    assert noise_variance(torch.zeros(3), 0.5, cap=1e3).tolist() == [500.0] * 3


def test_woodbury_is_the_inverse_of_the_damped_fisher_matrix() -> None:
    g, v = torch.randn(7, 12).double(), torch.randn(12).double()
    slow = torch.linalg.inv(0.3 * torch.eye(12).double() + g.T @ g / 7) @ v
    assert torch.allclose(woodbury(g, v, dampening=0.3), slow, atol=1e-12)


def test_the_released_recursion_is_not_that_inverse() -> None:
    g, v = torch.randn(7, 12).double(), torch.randn(12).double()
    k, o = v.clone(), g[0].clone()
    for row in g[1:]:
        tmp = o @ row
        k = k - (k @ row) / (7 + tmp) * o
        o = o - tmp / (7 + tmp) * o
    assert torch.allclose(recursion(g, v, samples=7), k, atol=1e-12)
    assert not torch.allclose(k, woodbury(g, v, dampening=1.0), atol=1e-3)


def test_the_uuef_preset_of_influence_is_the_released_recursion_with_300000_samples() -> None:
    model = tiny.net()

    def flat(loss: torch.Tensor) -> torch.Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])

    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    k = flat(F.cross_entropy(model(x_f), y_f)) - flat(F.cross_entropy(model(x_r), y_r))
    rows = [flat(F.cross_entropy(model(x), y)) for x, y in tiny.batches(RETAIN, 1)]
    o = rows[0]
    for row in rows[1:]:
        scale = 300_000 + o @ row
        k, o = k - (k @ row) / scale * o, o - (o @ row) / scale * o
    result = tiny.plain("influence", model, FORGET, RETAIN, preset="uuef")
    moved = torch.cat([(a - b).flatten() for a, b in zip(result.parameters(), model.parameters())])
    assert torch.allclose(moved, 0.2 * k, rtol=1e-7, atol=1e-14)


def test_influence_steps_along_the_preconditioned_difference_of_gradients() -> None:
    model = tiny.net()

    def flat(loss: torch.Tensor) -> torch.Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])

    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    v = flat(F.cross_entropy(model(x_f), y_f)) - flat(F.cross_entropy(model(x_r), y_r))
    g = torch.stack([flat(F.cross_entropy(model(x), y)) for x, y in tiny.batches(RETAIN, 1)])
    step = torch.linalg.inv(0.5 * torch.eye(len(v)).double() + g.T @ g / len(g)) @ v
    options: dict[str, Any] = {"alpha": 0.7, "dampening": 0.5, "samples": 100}
    result = tiny.plain("influence", model, FORGET, RETAIN, **options)
    moved = torch.cat([(a - b).flatten() for a, b in zip(result.parameters(), model.parameters())])
    assert torch.allclose(moved, 0.7 * step, atol=1e-9)
