import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch.nn.functional as F
from torch import nn

from raybench import methods, models
from raybench.methods.framework.run import run

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


def test_retraining_forgets_the_original_altogether() -> None:
    one = tiny.plain("retrain", tiny.net(seed=1), FORGET, RETAIN, epochs=2)
    two = tiny.plain("retrain", tiny.net(seed=2), FORGET, RETAIN, epochs=2)
    assert tiny.distance(one, two) == 0


def test_retraining_is_sgd_from_fresh_weights_on_the_retain_set() -> None:
    expected = copy.deepcopy(tiny.net())
    models.reset(expected, seed=0)
    sgd = tiny.PlainSGD(expected.parameters(), lr=0.1)
    for factor in (1.0, 0.5):
        sgd.lr = 0.1 * factor
        for x, y in tiny.batches(RETAIN, 4):
            sgd.step(F.cross_entropy(expected(x), y))
    tiny.assert_same(tiny.plain("retrain", tiny.net(), FORGET, RETAIN, epochs=2), expected)


@pytest.mark.parametrize(
    ("preset", "epochs", "momentum", "decay", "rate"),
    [
        ("uuef", 4, 0.9, 5e-4, lambda epoch: 0.01 * (1 + math.cos(math.pi * epoch / 4)) / 2),
        ("mufac", 22, 0.9, 0, lambda epoch: (0.01, 0.001, 0.0001)[(epoch >= 10) + (epoch >= 20)]),
        ("mucac_multilabel", 7, 0, 0, lambda epoch: 0.01),
        ("mucac_binary", 10, 0, 0, lambda epoch: 0.001),
    ],
)
def test_a_preset_trains_the_reference_as_its_source_did(
    preset: str, epochs: int, momentum: float, decay: float, rate: Callable[[int], float]
) -> None:
    expected = copy.deepcopy(tiny.net())
    models.reset(expected, seed=0)
    sgd = tiny.PlainSGD(expected.parameters(), 0, momentum, decay)
    x, y = tiny.stack(RETAIN)
    for epoch in range(epochs):
        sgd.lr = rate(epoch)
        sgd.step(F.cross_entropy(expected(x), y))
    options: dict[str, Any] = {"preset": preset, "epochs": epochs, "batch_size": 8}
    tiny.assert_same(tiny.plain("retrain", tiny.net(), FORGET, RETAIN, **options), expected)


def test_retraining_follows_the_recipe_of_the_experiment_where_there_is_one() -> None:
    seen: list[Any] = []

    def recipe(model: nn.Module, split: Any, seed: int, task: Any) -> None:
        seen.append((model, len(split), seed))
        task.end_epoch(0)

    task, arguments = tiny.make_task(tiny.net(), FORGET, RETAIN, method="retrain", seed=4)
    task.train_from_scratch = recipe
    result = run(methods.get("retrain"), task, arguments)
    assert seen == [(result.model, 8, 4)]
    assert result.ledger.steps == 0
