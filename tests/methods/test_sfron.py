import copy
import math

import pytest
import tiny
import torch
import torch.nn.functional as F

from raybench.methods.sfron import adaptive_loss, fading

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


def test_the_adaptive_loss_of_three_losses() -> None:
    assert float(adaptive_loss(torch.tensor([0.1, 1.0, 4.0]))) == pytest.approx(0.71129, abs=1e-5)


def test_the_adaptive_weights_are_constants_of_the_gradient() -> None:
    rows = torch.tensor([0.1, 1.0, 4.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(adaptive_loss(rows), rows)
    weights = rows.detach() ** -0.5
    assert torch.allclose(gradient, weights / weights.sum())


def test_the_ascent_starts_at_alpha_and_is_halved_at_half_time() -> None:
    assert fading(25.0, 0, 10) == 25
    assert fading(25.0, 5, 10) == pytest.approx(12.5)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("preset", "alpha", "every"), [("conformal", 40.0, 1), ("conformal_class", 25.0, 5)])
def test_a_preset_is_the_released_loop_weight_for_weight(preset: str, alpha: float, every: int, norm: bool) -> None:
    model = tiny.net(norm=norm)
    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    fisher = [
        [g**2 for g in torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))]
        for x, y in ((x_f, y_f), (x_r, y_r))
    ]
    masks = [((f + 1e-15) / (r + 1e-15) >= 1).double() for f, r in zip(*fisher)]
    student = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(student.parameters(), 0.01)
    for t in range(7):
        sgd.lr = 0.01 * (1 + math.cos(math.pi * t / 7)) / 2
        if t % every == 0:
            rows = F.cross_entropy(student(x_f), y_f, reduction="none")
            weights = rows.detach() ** -0.5
            ascent = -alpha * (1 + math.cos(math.pi * t / 7)) / 2 * (weights * rows).sum() / weights.sum()
            sgd.step(ascent, masks=masks, clip_norm=7.0)
        sgd.step(F.cross_entropy(student(x_r), y_r))
    result = tiny.plain("sfron", model, FORGET, RETAIN, preset=preset, iterations=7, batch_size=64)
    tiny.assert_same(result, student)


def test_the_hook_is_called_once_per_retain_pass() -> None:
    calls: list[int] = []
    tiny.outcome(
        "sfron", tiny.net(), FORGET, RETAIN, iterations=5, on_epoch=lambda _, epoch: calls.append(epoch), batch_size=4
    )
    assert calls == [0, 1, 2]
