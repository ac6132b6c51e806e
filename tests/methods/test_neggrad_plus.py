import copy
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F

from raybench import methods
from raybench.methods.framework.run import run

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


def test_the_conformal_loss_of_a_retain_loss_of_a_fifth_and_a_forget_loss_of_3_is_0197(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float] = []
    task, arguments = tiny.make_task(
        tiny.net(), FORGET, RETAIN, method="neggrad_plus", preset="conformal", epochs=1, batch_size=64, shuffle=False
    )
    monkeypatch.setattr(task, "loss", lambda logits, y: logits.sum() * 0 + (0.2 if len(y) == len(RETAIN) else 3.0))
    monkeypatch.setattr(task, "step", lambda _, loss: seen.append(float(loss.detach())))
    run(methods.get("neggrad_plus"), task, arguments)
    assert seen == pytest.approx([0.197])


def test_neggrad_plus_descends_on_retain_and_ascends_on_forget_in_one_step() -> None:
    model = tiny.net(norm=True)
    expected = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(expected.parameters(), lr=0.05)
    x_f, y_f = tiny.stack(FORGET)
    for _ in range(2):
        for x_r, y_r in tiny.batches(RETAIN, 4):
            retain, forget = F.cross_entropy(expected(x_r), y_r), F.cross_entropy(expected(x_f), y_f)
            sgd.step(0.95 * retain - 0.05 * forget)
    tiny.assert_same(tiny.plain("neggrad_plus", model, FORGET, RETAIN, lr=0.05, epochs=2, forget_weight=0.05), expected)


@pytest.mark.parametrize(("preset", "forget_first"), [("mufac", False), ("mucac_binary", True)])
def test_the_mufac_presets_weigh_both_losses_alike(preset: str, forget_first: bool) -> None:
    model = tiny.net(norm=True)
    expected = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(expected.parameters(), 0.001, 0, 0)
    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    for _ in range(2):
        if forget_first:
            forget, retain = expected(x_f), expected(x_r)
        else:
            retain, forget = expected(x_r), expected(x_f)
        sgd.step(F.cross_entropy(retain, y_r) - F.cross_entropy(forget, y_f))
    result = tiny.plain("neggrad_plus", model, FORGET, RETAIN, preset=preset, batch_size=64)
    tiny.assert_same(result, expected)


def test_the_conformal_preset_takes_one_forward_of_the_mixed_batch() -> None:
    model = tiny.net(norm=True)
    expected = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(expected.parameters(), 0.1)
    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    logits = expected(torch.cat([x_r, x_f]))
    sgd.step(F.cross_entropy(logits[:8], y_r) - 0.001 * F.cross_entropy(logits[8:], y_f))
    result = tiny.plain("neggrad_plus", model, FORGET, RETAIN, preset="conformal", epochs=1, batch_size=64)
    tiny.assert_same(result, expected)


def test_joint_forward_shares_the_batch_statistics() -> None:
    model = tiny.net(norm=True)
    expected = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(expected.parameters(), 0.05)
    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    logits = expected(torch.cat([x_r, x_f]))
    sgd.step(0.95 * F.cross_entropy(logits[:8], y_r) - 0.05 * F.cross_entropy(logits[8:], y_f))
    options: dict[str, Any] = {"lr": 0.05, "forget_weight": 0.05, "epochs": 1, "batch_size": 8, "joint_forward": True}
    tiny.assert_same(tiny.plain("neggrad_plus", model, FORGET, RETAIN, **options), expected)


@pytest.mark.parametrize(("driver", "steps"), [("retain", 3), ("forget", 2), ("shortest", 2), ("mixed", 5)])
def test_the_driver_says_how_many_steps_an_epoch_has(driver: str, steps: int) -> None:
    forget, retain = tiny.samples(6, seed=1), tiny.samples(11, seed=2)
    ledger = tiny.outcome("neggrad_plus", tiny.net(), forget, retain, driver=driver, epochs=1).ledger
    assert ledger.steps == steps


def test_pairs_with_an_incomplete_batch_are_left_out_where_asked() -> None:
    forget, retain = tiny.samples(6, seed=1), tiny.samples(11, seed=2)
    options: dict[str, Any] = {"driver": "shortest", "epochs": 1, "skip_incomplete": True}
    assert tiny.outcome("neggrad_plus", tiny.net(), forget, retain, **options).ledger.steps == 1
