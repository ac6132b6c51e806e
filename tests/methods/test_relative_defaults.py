"""Defaults that follow the recipe: what they resolve to, what they leave alone, and the ranges in the same units."""

from typing import Any

import pytest
import tiny

import raybench
from raybench import methods
from raybench.config.spaces import Space
from raybench.engine.training import Recipe
from raybench.methods.framework.defaults import Relative, RelativeCount, Training, of_epochs, of_lr, of_steps
from raybench.methods.framework.spec import (
    Count,
    MethodSpec,
    Rate,
    Settings,
    check,
    hyperparameters,
    method,
    shipped_ranges,
)
from raybench.methods.framework.task import UnlearningTask
from raybench.registry import spec_of

NAMES = methods.names()
SMALL = Training(Recipe(lr=0.05, epochs=8, batch_size=32), num_forget=40, num_retain=200)
LARGE = Training(
    Recipe(lr=0.4, epochs=90, batch_size=1024, weight_decay=1e-4, clip_norm=1.0), num_forget=6500, num_retain=10**6
)
ADAM = Training(Recipe(lr=0.001, epochs=20, optimizer="adam", momentum=0.8, weight_decay=0.0))


@method(source="here", presets={"paper": {"lr": 0.3, "epochs": 2, "passes": 4}})
def example(
    task: UnlearningTask, *, lr: Rate = of_lr(0.1), epochs: Count = of_epochs(0.25), passes: Count = of_steps(10)
) -> None:
    """Do nothing."""


def resolved(training: Training, **values: Any) -> tuple[dict[str, Any], Settings]:
    return check("example", example, values, training)


def test_rates_and_durations_follow_the_recipe_and_the_number_of_forget_batches() -> None:
    assert resolved(SMALL)[0] == {"lr": 0.005, "epochs": 2, "passes": 5}
    assert resolved(LARGE)[0] == {"lr": 0.04, "epochs": 22, "passes": 1}
    assert resolved(Training(Recipe(epochs=1)))[0]["epochs"] == 1
    assert resolved(SMALL, batch_size=10)[0]["passes"] == 2  # four batches: ten steps are 2.5 passes


def test_the_batch_size_and_the_optimizer_are_those_of_the_recipe() -> None:
    _, settings = resolved(LARGE)
    assert (settings.batch_size, settings.weight_decay, settings.clip_norm) == (1024, 1e-4, 1.0)
    assert settings.schedule == "constant"
    assert resolved(LARGE, epochs=3)[1] == settings
    _, settings = resolved(ADAM, momentum=0.5)
    assert (settings.optimizer, settings.momentum, settings.weight_decay) == ("adam", 0.5, 0.0)


def test_a_rate_is_converted_between_sgd_and_adam() -> None:
    assert resolved(ADAM)[0]["lr"] == 1e-4
    assert resolved(ADAM, optimizer="adamw")[0]["lr"] == 1e-4
    assert resolved(ADAM, optimizer="sgd")[0]["lr"] == 0.01
    assert resolved(SMALL, optimizer="adam")[0]["lr"] == 5e-5


def test_values_of_the_user_and_of_presets_are_plain_numbers() -> None:
    arguments, settings = resolved(LARGE, lr=0.7, epochs=3)
    assert arguments == {"lr": 0.7, "epochs": 3, "passes": 1}
    assert settings == Settings()  # a rate holds for the optimizer that is documented, not for the recipe's
    arguments, settings = resolved(LARGE, preset="paper")
    assert arguments == {"lr": 0.3, "epochs": 2, "passes": 4}
    assert settings == Settings()


def test_a_default_says_what_it_follows_and_is_its_value_for_the_default_recipe() -> None:
    fields = hyperparameters(example).model_fields
    texts = {"lr": "0.1 x train.lr", "epochs": "0.25 x train.epochs", "passes": "10 steps in whole passes"}
    assert {key: repr(field.default) for key, field in fields.items()} == texts
    assert {key: field.default for key, field in fields.items()} == resolved(Training())[0]


def test_unlearn_follows_the_recipe_that_it_is_given() -> None:
    received: list[tuple[float, int, str]] = []

    @method(source="here")
    def receive(task: UnlearningTask, *, lr: Rate = of_lr(0.1), passes: Count = of_steps(10)) -> None:
        """Do nothing."""
        received.append((lr, passes, task.settings.optimizer))

    data = tiny.samples(6)
    raybench.unlearn(tiny.net(), method=receive, forget=data, retain=data)
    recipe = {"lr": 0.002, "optimizer": "adam", "batch_size": 2}
    raybench.unlearn(tiny.net(), method=receive, forget=data, retain=data, training=recipe)
    assert received == [(0.01, 10, "sgd"), (0.0002, 3, "adam")]


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_does_not_depend_on_the_recipe(name: str) -> None:
    function = methods.get(name)
    for preset in spec_of(function, MethodSpec).presets:
        at_small, at_large = (check(name, function, {"preset": preset}, training) for training in (SMALL, LARGE))
        assert at_small == at_large


@pytest.mark.parametrize("name", NAMES)
def test_shipped_ranges_contain_the_default_and_are_valid_for_small_and_large_recipes(name: str) -> None:
    function = methods.get(name)
    for training in (SMALL, LARGE, ADAM):
        defaults, _ = check(name, function, {}, training)
        for key, value in shipped_ranges(function, training).items():
            space = Space.parse(key, value)
            if space.kind == "fixed":
                assert value == check(name, function, {}, training)[1].model_dump()[key]
                continue
            for end in space.extremes:
                check(name, function, {key: end}, training)
            if isinstance(defaults[key], float) and space.kind != "choice":
                assert space.values[0] <= defaults[key] <= space.values[-1]


@pytest.mark.parametrize("name", NAMES)
def test_every_rate_and_number_of_epochs_follows_the_recipe(name: str) -> None:
    fields = hyperparameters(methods.get(name)).model_fields
    noise = {"noise_lr"}  # of images, which no recipe trains
    rates = {key for key in fields if key == "lr" or key.endswith("_lr")} - noise
    assert all(isinstance(fields[key].default, Relative) for key in rates)
    assert all(isinstance(fields[key].default, RelativeCount) for key in fields if key == "epochs")
