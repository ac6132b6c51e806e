import copy

import pytest
import tiny
import torch
import torch.nn.functional as F

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


def test_finetune_is_sgd_on_the_retain_set() -> None:
    model = tiny.net()
    expected = copy.deepcopy(model)
    sgd = tiny.PlainSGD(expected.parameters(), lr=0.05)
    for _ in range(2):
        for x, y in tiny.batches(RETAIN, 4):
            sgd.step(F.cross_entropy(expected(x), y))
    tiny.assert_same(tiny.plain("finetune", model, FORGET, RETAIN, lr=0.05, epochs=2), expected)


def test_finetune_learns_label_vectors_by_binary_cross_entropy() -> None:
    retain = tiny.samples(8, seed=2, multi_label=True)
    model = tiny.net()
    expected = copy.deepcopy(model)
    sgd = tiny.PlainSGD(expected.parameters(), lr=0.05)
    for x, y in tiny.batches(retain, 4):
        sgd.step(F.binary_cross_entropy_with_logits(expected(x), y.double()))
    forget = tiny.samples(4, seed=1, multi_label=True)
    tiny.assert_same(tiny.plain("finetune", model, forget, retain, lr=0.05, epochs=1), expected)


@pytest.mark.parametrize(("decay", "no_l1"), [("linear", 0), ("linear", 1), ("constant", 1)])
def test_finetune_l1_adds_the_fading_sum_of_all_absolute_weights(decay: str, no_l1: int) -> None:
    model = tiny.net(norm=True)
    expected = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(expected.parameters(), lr=0.05)
    for epoch in range(3):
        strength = 0.2 * (1 - epoch / (3 - no_l1) if decay == "linear" else 1)
        if epoch >= 3 - no_l1:
            strength = 0.0
        for x, y in tiny.batches(RETAIN, 4):
            loss = F.cross_entropy(expected(x), y)
            for parameter in expected.parameters():
                loss = loss + strength * parameter.abs().sum()
            sgd.step(loss)
    options = {"lr": 0.05, "epochs": 3, "alpha": 0.2, "no_l1_epochs": no_l1, "decay": decay}
    tiny.assert_same(tiny.plain("finetune_l1", model, FORGET, RETAIN, **options), expected)


def test_the_uuef_preset_of_finetune_l1_is_a_sum_with_weight_a_fifth() -> None:
    model = tiny.net()
    expected = copy.deepcopy(model)
    sgd = tiny.PlainSGD(expected.parameters(), lr=0.01)
    x, y = tiny.stack(RETAIN)
    for strength in (0.2, 0.1):
        penalty = sum(parameter.abs().sum() for parameter in expected.parameters())
        sgd.step(F.cross_entropy(expected(x), y) + strength * penalty)
    result = tiny.plain("finetune_l1", model, FORGET, RETAIN, preset="uuef", epochs=2, batch_size=256)
    tiny.assert_same(result, expected)


@pytest.mark.parametrize(
    ("preset", "lr", "momentum", "decay", "frozen"),
    [("uuef", 0.01, 0.9, 5e-4, False), ("mufac", 0.001, 0, 0, True), ("mucac_binary", 0.001, 0, 0, False)],
)
def test_a_preset_is_the_released_loop_weight_for_weight(
    preset: str, lr: float, momentum: float, decay: float, frozen: bool
) -> None:
    model = tiny.net(norm=True)
    expected = copy.deepcopy(model).train(not frozen)
    sgd = tiny.PlainSGD(expected.parameters(), lr, momentum, decay)
    x, y = tiny.stack(RETAIN)
    for _ in range(2):
        sgd.step(F.cross_entropy(expected(x), y))
    result = tiny.plain("finetune", model, FORGET, RETAIN, preset=preset, epochs=2, batch_size=64)
    tiny.assert_same(result, expected)


def test_the_conformal_preset_freezes_batch_norm_after_the_first_epoch_and_follows_a_cosine() -> None:
    model = tiny.net(norm=True)
    expected = copy.deepcopy(model)
    sgd = tiny.PlainSGD(expected.parameters(), 0.1)
    x, y = tiny.stack(RETAIN)
    for epoch in range(3):
        expected.train(epoch == 0)
        sgd.lr = 0.1 * (1 + torch.cos(torch.tensor(torch.pi * epoch / 3, dtype=torch.float64)).item()) / 2
        sgd.step(F.cross_entropy(expected(x), y))
    result = tiny.plain("finetune", model, FORGET, RETAIN, preset="conformal", epochs=3, batch_size=64)
    tiny.assert_same(result, expected)
