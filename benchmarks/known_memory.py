"""Build models that remember all, half or none of the forget set, and models that only seem to have forgotten.

Comparing the evaluation with this known memory measures the metrics, not any method. Used by `power.py`, which prints
the table, and by the tests.
"""

import copy
import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from raybench.data.reading.batches import ResidentSplit
from raybench.data.splits import ROLES
from raybench.engine.audit import measure
from raybench.engine.prediction import Predictions, predict
from raybench.engine.relearning import relearn
from raybench.engine.training import Progress, Recipe, train
from raybench.jobs.keys import UNTRAINED_SEED
from raybench.scenario.scenario import Scenario
from raybench.scoring.metric_rows import Models, Row, get_metric, score, with_gaps

TEMPERATURE = 3.0
DENIED = 0.3  # fraction of forget samples that a poisoned model gets wrong; a larger one changes the features as well
POISONING = {"epochs": 60, "lr": 0.001, "schedule": "constant"}  # an upper bound; about 20 epochs are enough
SUBJECTS = ("original", "half", "poisoned", "permuted", "scaled")  # one of each kind per original
RELEARNING = ("relearning_epochs", "forget", "")


def build(scenario: Scenario, *, originals: int, retrained: int) -> dict[str, nn.Module]:
    """Train and derive every model, named `<kind>-<number>`; every trained model has its own seed."""
    retain, forget = (scenario.splits().ids(role) for role in ("retain", "forget"))
    models = {f"retrained-{i}": _trained(scenario, retain, 200 + i) for i in range(retrained)}
    for i in range(originals):
        half = np.random.default_rng(i).permutation(forget)[: len(forget) // 2]
        original = _trained(scenario, np.concatenate([retain, forget]), 100 + i)
        models |= {
            f"original-{i}": original,
            f"half-{i}": _trained(scenario, np.concatenate([retain, half]), 300 + i),
            f"poisoned-{i}": _poisoned(scenario, original, seed=i),
            f"permuted-{i}": permuted(original, seed=i),
            f"scaled-{i}": scaled(original, TEMPERATURE),
        }
    return models


def _trained(scenario: Scenario, ids: np.ndarray, seed: int) -> nn.Module:
    model = scenario.fresh(seed)
    train(model, scenario.samples(np.sort(ids), augment=True), scenario.experiment.train.recipe, seed=seed)
    return model.eval()


class _Enough(Exception):
    """Raised when the poisoned model misclassifies enough forget samples."""


def _poisoned(scenario: Scenario, original: nn.Module, *, seed: int) -> nn.Module:
    """Fine-tune the original on wrong labels of the forget set: its predictions hide what its features contain."""
    data, forget = scenario.data(), scenario.split("forget")
    labels = np.array(data.labels)
    labels[forget.ids] += np.random.default_rng(seed).integers(1, data.num_classes, len(forget))
    poisoned = ResidentSplit(replace(data, labels=labels % data.num_classes), forget.ids, device=scenario.device)
    model = copy.deepcopy(original)

    def stop_when_wrong(_: Progress) -> None:
        if measure(model, forget)[0] <= 1 - DENIED:
            raise _Enough

    recipe = Recipe.model_validate({**scenario.experiment.train.recipe.model_dump(), **POISONING})
    with suppress(_Enough):
        train(model, poisoned, recipe, seed=seed, on_epoch=stop_when_wrong)
    return model.eval()


def permuted(model: nn.Module, *, seed: int) -> nn.Module:
    """Reorder the channels of every hidden layer of `cnn`: other weights, the same function up to rounding."""
    model, rng = copy.deepcopy(model), np.random.default_rng(seed)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    order: torch.Tensor | None = None
    with torch.no_grad():
        for layer in layers:
            if order is not None and not isinstance(layer, nn.BatchNorm2d):
                layer.weight.copy_(layer.weight[:, order])
            if isinstance(layer, nn.Conv2d):
                order = torch.from_numpy(rng.permutation(layer.out_channels)).to(layer.weight.device)
                layer.weight.copy_(layer.weight[order])
            elif isinstance(layer, nn.BatchNorm2d):
                for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    values.copy_(values[order])
    return model


def scaled(model: nn.Module, temperature: float) -> nn.Module:
    """Divide the logits by a temperature in the head's weights: the same predictions with another confidence."""
    model = copy.deepcopy(model)
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.div_(temperature)
        head.bias.div_(temperature)
    return model


def evaluate(
    scenario: Scenario,
    models: Mapping[str, nn.Module],
    chosen: Mapping[str, Mapping[str, Any]],
    alphas: Sequence[float],
    *,
    probe_epochs: int = 0,
) -> list[Row]:
    """Score all models and return their rows with gaps; `against` is the number of the original used as reference.

    Every original and the models derived from it are compared with that original and with all retrained models.
    `probe_epochs` adds the relearning probe as a metric.
    """
    splits, images = {role: scenario.split(role) for role in ROLES}, scenario.data()
    stored: dict[tuple[str, str], Predictions] = {
        (name, role): predict(model, split)
        for name, model in [*models.items(), ("untrained", scenario.untrained(UNTRAINED_SEED))]
        for role, split in splits.items()
    }
    retrained = tuple(name for name in models if name.startswith("retrained-"))
    numbers = [int(name.removeprefix("original-")) for name in models if name.startswith("original-")]
    by_original = {name: settings for name, settings in chosen.items() if _reads_original(name)}
    others = {name: settings for name, settings in chosen.items() if name not in by_original}
    curves = _curves(scenario, models, numbers, probe_epochs) if probe_epochs else {}

    def rows_of(name: str, metrics: Mapping[str, Mapping[str, Any]], number: int) -> list[Row]:
        against = Models(
            lambda key, role: stored[key, role],
            f"original-{number}",
            retrained,
            images.groups,
            images.num_classes,
            untrained="untrained",
            weights=lambda key: {n: values.detach().numpy() for n, values in models[key].named_parameters()},
        )
        kind = name.rsplit("-", 1)[0]
        rows = score(name, metrics, alphas, against)
        return [{**row, "model": name, "kind": kind, "against": number} for row in rows]

    shared = {name: rows_of(name, others, numbers[0]) for name in retrained}  # independent of the original
    all_rows = []
    for number in numbers:
        rows = [{**row, "against": number} for name in retrained for row in shared[name]]
        rows += [row for name in retrained for row in rows_of(name, by_original, number)]
        subjects = [f"{kind}-{number}" for kind in SUBJECTS]
        rows += [row for name in subjects for row in rows_of(name, chosen, number)]
        if curves:
            rows += [_relearning(name, curves, number) for name in (*retrained, *subjects)]
        all_rows += with_gaps(rows)
    return all_rows


def _reads_original(name: str) -> bool:
    return any(argument.startswith("original_") for argument in inspect.signature(get_metric(name)).parameters)


def _curves(
    scenario: Scenario, models: Mapping[str, nn.Module], numbers: Sequence[int], epochs: int
) -> dict[str, tuple[float, ...]]:
    split = scenario.split("forget")
    known = [relearn(models[f"original-{i}"], split, target_accuracy=0.0).curve[0] for i in numbers]
    return {
        name: relearn(model, split, target_accuracy=max(known) - 0.01, max_epochs=epochs).curve
        for name, model in models.items()
    }


def _relearning(name: str, curves: Mapping[str, tuple[float, ...]], number: int) -> Row:
    target = curves[f"original-{number}"][0] - 0.01
    epochs = next((epoch for epoch, accuracy in enumerate(curves[name]) if accuracy >= target), None)
    metric, split, setting = RELEARNING
    reason = f"not relearned within {len(curves[name]) - 1} epochs" if epochs is None else None
    row = {"metric": metric, "split": split, "setting": setting, "value": epochs, "reason": reason}
    return {**row, "model": name, "kind": name.rsplit("-", 1)[0], "against": number}
