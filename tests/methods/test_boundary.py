import copy
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import nn

from raybench.data.reading.batches import seed_for
from raybench.errors import UserError

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


@pytest.mark.parametrize("released", [True, False])
def test_boundary_shrink_teaches_the_class_of_the_signed_gradient_image(released: bool) -> None:
    model = tiny.net(norm=True)
    forget = [(torch.sigmoid(x), y) for x, y in FORGET]  # pixels in 0 to 1
    x, y = tiny.stack(forget)
    frozen, student = copy.deepcopy(model), copy.deepcopy(model).train()
    probe = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(frozen(probe), y), probe)
    moved = x + 0.1 * torch.sign(gradient)
    if released:
        moved = torch.round(torch.clip(moved, 0, 1) * 255) / 255
    logits = frozen(moved).detach()
    if not released:
        logits[torch.arange(4), y] = -torch.inf
    sgd = tiny.PlainSGD(student.parameters(), 0.01)
    for _ in range(2):
        sgd.step(F.cross_entropy(student(x), logits.argmax(1)))
    options: dict[str, Any] = {"preset": "uuef"} if released else {"lr": 0.01, "epsilon": 0.1}
    tiny.assert_same(tiny.plain("boundary_shrink", model, forget, RETAIN, epochs=2, **options), student)


def test_boundary_expand_teaches_a_unit_that_is_gone_afterwards() -> None:
    model = tiny.net(norm=True)
    result = tiny.plain("boundary_expand", model, FORGET, RETAIN, lr=0.05, epochs=3)
    assert result[-1].weight.shape == model[-1].weight.shape
    assert tiny.distance(result, model) > 0


def test_boundary_expand_is_sgd_on_one_more_class() -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train()
    with torch.random.fork_rng():
        torch.manual_seed(seed_for("torch", 0))  # as the runner does, so that the new unit starts alike
        extra = nn.Linear(5, 1, dtype=torch.float64)
    sgd = tiny.PlainSGD([*student.parameters(), *extra.parameters()], 0.01)
    x, _ = tiny.stack(FORGET)
    for _ in range(2):
        h = student[:-1](x)
        sgd.step(F.cross_entropy(torch.cat([student[-1](h), extra(h)], 1), torch.full((4,), 3)))
    tiny.assert_same(tiny.plain("boundary_expand", model, FORGET, RETAIN, lr=0.01, epochs=2), student)


def test_the_uuef_preset_of_boundary_expand_trains_class_10_as_the_released_code_does() -> None:
    model = tiny.net(norm=True, classes=12)
    student = copy.deepcopy(model).train()
    with torch.random.fork_rng():
        torch.manual_seed(seed_for("torch", 0))
        extra = nn.Linear(5, 1, dtype=torch.float64)
    sgd = tiny.PlainSGD([*student.parameters(), *extra.parameters()], 0.01)
    x, _ = tiny.stack(FORGET)
    for _ in range(2):
        h = student[:-1](x)
        sgd.step(F.cross_entropy(torch.cat([student[-1](h), extra(h)], 1), torch.full((4,), 10)))
    tiny.assert_same(tiny.plain("boundary_expand", model, FORGET, RETAIN, preset="uuef", epochs=2), student)


def test_boundary_expand_refuses_a_target_beyond_the_extra_unit() -> None:
    with pytest.raises(UserError, match="at least 10 classes"):
        tiny.plain("boundary_expand", tiny.net(), FORGET, RETAIN, preset="uuef")


def test_boundary_shrink_without_another_class_is_refused() -> None:
    with pytest.raises(UserError, match="which needs one"):
        tiny.plain("boundary_shrink", tiny.net(), tiny.samples(4, label=0), tiny.samples(4, label=0))
