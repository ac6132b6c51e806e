import copy
from typing import Any

import tiny
import torch.nn.functional as F
from torch import nn

from raybench import methods, models
from raybench.methods.run import run

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
