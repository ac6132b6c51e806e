import copy
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.methods.building_blocks.relabeling import random_labels

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_random_labels_exclude_the_true_class_when_asked(seed: int, classes: int) -> None:
    forget = tiny.samples(20, classes=classes)
    task, _ = tiny.make_task(tiny.net(classes=classes), forget, RETAIN[:2], seed=seed)
    drawn = random_labels(task, exclude_true=True)
    assert bool((drawn != task.forget_labels).all())
    assert bool(((drawn >= 0) & (drawn < classes)).all())


def test_random_labels_reach_every_class_alike_whatever_the_true_one() -> None:
    task, _ = tiny.make_task(tiny.net(), tiny.samples(6000, label=1), RETAIN)
    shares = torch.bincount(random_labels(task, exclude_true=True), minlength=3) / 6000
    assert shares.tolist() == pytest.approx([0.5, 0.0, 0.5], abs=0.03)
    shares = torch.bincount(random_labels(task, exclude_true=False), minlength=3) / 6000
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_excluding_the_true_bits_of_a_label_vector_flips_them() -> None:
    forget = tiny.samples(50, multi_label=True)
    task, _ = tiny.make_task(tiny.net(), forget, tiny.samples(4, multi_label=True))
    assert torch.equal(random_labels(task, exclude_true=True), 1 - task.forget_labels)
    drawn = random_labels(task, exclude_true=False)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert 0.2 < (drawn == task.forget_labels).double().mean() < 0.8


def drawn_labels(epochs: int, *, redrawn: bool, exclude_true: bool) -> list[torch.Tensor]:
    task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN)
    first = random_labels(task, exclude_true=exclude_true)
    return [
        first if epoch == 0 or not redrawn else random_labels(task, exclude_true=exclude_true)
        for epoch in range(epochs)
    ]


@pytest.mark.parametrize("redrawn", [False, True])
@pytest.mark.parametrize("retain_pass", ["none", "after", "mixed"])
def test_random_label_is_sgd_on_the_drawn_labels(redrawn: bool, retain_pass: str) -> None:
    model = tiny.net()
    expected = copy.deepcopy(model)
    sgd = tiny.PlainSGD(expected.parameters(), lr=0.05)
    (x_f, _), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    for drawn in drawn_labels(2, redrawn=redrawn, exclude_true=True):
        if retain_pass == "mixed":
            sgd.step(F.cross_entropy(expected(torch.cat([x_r, x_f])), torch.cat([y_r, drawn])))
            continue
        sgd.step(F.cross_entropy(expected(x_f), drawn))
        if retain_pass == "after":
            sgd.step(F.cross_entropy(expected(x_r), y_r))
    options: dict[str, Any] = {"lr": 0.05, "epochs": 2, "batch_size": 12, "retain_pass": retain_pass}
    result = tiny.plain("random_label", model, FORGET, RETAIN, labels="redrawn" if redrawn else "fixed", **options)
    tiny.assert_same(result, expected)


def test_the_uuef_preset_sees_no_retain_sample() -> None:
    model = tiny.net(norm=True)
    expected = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(expected.parameters(), 0.01)
    x, _ = tiny.stack(FORGET)
    for drawn in drawn_labels(2, redrawn=True, exclude_true=False):
        sgd.step(F.cross_entropy(expected(x), drawn))
    tiny.assert_same(
        tiny.plain("random_label", model, FORGET, RETAIN, preset="uuef", epochs=2, batch_size=256), expected
    )


def plain_mask(model: torch.nn.Module, density: float) -> list[torch.Tensor]:
    total = [torch.zeros_like(p) for p in model.parameters()]
    for x, y in tiny.batches(FORGET, 2):
        gradients = torch.autograd.grad(-F.cross_entropy(model(x), y), list(model.parameters()))
        total = [t + g for t, g in zip(total, gradients)]
    scores = sorted(
        ((-float(v), i, j) for i, t in enumerate(total) for j, v in enumerate(t.abs().flatten())),
    )
    chosen = {(i, j) for _, i, j in scores[: int(density * len(scores))]}
    masks = [torch.zeros_like(t) for t in total]
    for i, j in chosen:
        masks[i].view(-1)[j] = 1
    return masks


@pytest.mark.parametrize("mask_update", ["all", "gradient"])
def test_salun_is_random_label_under_the_mask(mask_update: str) -> None:
    model = tiny.net()
    masks = plain_mask(model, 0.5)
    expected, start = copy.deepcopy(model), copy.deepcopy(model)
    sgd = tiny.PlainSGD(expected.parameters(), lr=0.05)
    x, _ = tiny.stack(FORGET)
    for drawn in drawn_labels(3, redrawn=False, exclude_true=True):
        for i in (0, 2):
            sgd.step(F.cross_entropy(expected(x[i : i + 2]), drawn[i : i + 2]), masks=masks)
            if mask_update == "all":
                with torch.no_grad():
                    for p, mask, anchor in zip(expected.parameters(), masks, start.parameters()):
                        p.copy_(mask * p + (1 - mask) * anchor)
    options: dict[str, Any] = {"lr": 0.05, "epochs": 3, "batch_size": 2, "retain_pass": "none"}
    tiny.assert_same(tiny.plain("salun", model, FORGET, RETAIN, mask_update=mask_update, **options), expected)


def test_salun_leaves_frozen_weights_bit_identical_under_decay_and_momentum() -> None:
    model = tiny.net(norm=True)
    result = tiny.plain("salun", model, FORGET, RETAIN, lr=0.1, epochs=4, density=0.3, weight_decay=0.1)
    total = sum(p.numel() for p in model.parameters())
    moved = sum(int((a != b).sum()) for a, b in zip(result.parameters(), model.parameters()))
    assert 0 < moved <= int(0.3 * total)
