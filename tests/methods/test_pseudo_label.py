import copy

import pytest
import tiny
import torch
import torch.nn.functional as F

from raybench.errors import UserError

RETAIN = [(x, int(y) % 2) for x, y in tiny.samples(8, seed=2)]


def test_a_forgotten_class_goes_to_the_originals_best_retained_class() -> None:
    forget = tiny.samples(4, seed=1, label=2)
    model = tiny.net(norm=True)
    x, _ = tiny.stack(forget)
    labels = model(x)[:, :2].argmax(dim=1)
    expected = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(expected.parameters(), 0.01)
    for _ in range(3):
        sgd.step(F.cross_entropy(expected(x), labels))
    tiny.assert_same(tiny.plain("pseudo_label", model, forget, RETAIN, preset="uuef", epochs=3), expected)


def test_single_samples_go_to_the_best_class_that_is_not_their_own() -> None:
    forget = tiny.samples(4, seed=1)
    retain = tiny.samples(8, seed=2)
    model = tiny.net()
    x, y = tiny.stack(forget)
    logits = model(x).detach()
    logits[torch.arange(4), y] = -torch.inf
    expected = copy.deepcopy(model)
    sgd = tiny.PlainSGD(expected.parameters(), 0.05)
    sgd.step(F.cross_entropy(expected(x), logits.argmax(dim=1)))
    tiny.assert_same(tiny.plain("pseudo_label", model, forget, retain, lr=0.05, epochs=1), expected)


def test_a_task_without_another_class_is_refused() -> None:
    with pytest.raises(UserError, match="which needs one"):
        tiny.plain("pseudo_label", tiny.net(), tiny.samples(4, label=1), tiny.samples(4, seed=2, label=1))
