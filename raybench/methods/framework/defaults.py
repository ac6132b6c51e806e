"""Defaults that follow the training of the original: learning rates as factors of its rate, durations as fractions.

A rate or a number of epochs from a paper suits the data and the recipe of that paper. A method therefore declares

    def scrub(task: UnlearningTask, *, lr: Rate = of_lr(0.3), epochs: Count = of_epochs(0.25)) -> None: ...

and gets numbers: 0.3 times `train.lr`, and a quarter of `train.epochs`. Only defaults are relative. A value of the user
or of a preset is the number that it says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from raybench.engine.optimization import OptimizerSettings
from raybench.engine.training import Recipe

INHERITED = ("batch_size", "optimizer", "momentum", "nesterov", "weight_decay", "clip_norm")
"""Shared settings that are taken over from the recipe together with the learning rate."""
ADAM_PER_SGD = 0.01  # 0.1 with SGD and 0.001 with Adam are the usual rates
UNKNOWN_FORGET, UNKNOWN_RETAIN = 320, 3200  # numbers of samples where no data are at hand

Unit = Literal["lr", "epochs", "steps", "iterations"]


@dataclass(frozen=True)
class Training:
    """What relative defaults are resolved with: the recipe of the original and the sizes of both sets."""

    recipe: Recipe = field(default_factory=Recipe)
    num_forget: int = UNKNOWN_FORGET
    num_retain: int = UNKNOWN_RETAIN

    def settings(self) -> dict[str, Any]:
        """Return the recipe's values of the settings that methods take over."""
        return {name: getattr(self.recipe, name) for name in INHERITED}

    def unit(self, unit: Unit, settings: OptimizerSettings | None = None) -> float:
        """Return what a factor of the unit is multiplied by."""
        settings = settings or OptimizerSettings.model_validate(self.settings())
        if unit == "epochs":
            return self.recipe.epochs
        if unit == "steps":
            return 1 / -(-self.num_forget // settings.batch_size)
        if unit == "iterations":
            return self.recipe.epochs * -(-self.num_retain // settings.batch_size)
        sgd, trained_with_sgd = settings.optimizer == "sgd", self.recipe.optimizer == "sgd"
        if sgd == trained_with_sgd:
            return self.recipe.lr
        return self.recipe.lr / ADAM_PER_SGD if sgd else self.recipe.lr * ADAM_PER_SGD

    def number(self, value: float, unit: Unit, settings: OptimizerSettings | None = None) -> float:
        """Return `value` units as a number: a learning rate, to six digits, or a whole number, at least 1."""
        product = value * self.unit(unit, settings)
        return float(f"{product:.6g}") if unit == "lr" else max(1, round(product))


class RelativeRate(float):
    """A learning rate that is a factor of the recipe's; as a number, its value for the default recipe."""

    factor: float
    unit: Unit = "lr"

    def __repr__(self) -> str:
        return f"{self.factor:g} x train.lr"


class RelativeCount(int):
    """A number of epochs or steps that follows the recipe; as a number, its value for the default recipe."""

    factor: float
    unit: Unit

    def __repr__(self) -> str:
        if self.unit == "epochs":
            return f"{self.factor:g} x train.epochs"
        return f"{self.factor:g} steps in whole passes" if self.unit == "steps" else f"{self.factor:g} x training steps"


Relative = RelativeRate | RelativeCount


def of_lr(factor: float) -> float:
    """Return the default `factor` times the learning rate of the recipe (`train.lr`).

    If a method runs with Adam and the recipe with SGD, the rate is a hundredth of that, and in the opposite case a
    hundred times as large.
    """
    rate = RelativeRate(Training().number(factor, "lr"))
    rate.factor = factor
    return rate


def of_epochs(factor: float) -> int:
    """Return the default `factor` times the epochs of the recipe (`train.epochs`), rounded, at least 1."""
    return _count(factor, "epochs")


def of_steps(steps: int) -> int:
    """Return as a default the number of passes over the forget set that have about `steps` batches, at least 1."""
    return _count(steps, "steps")


def of_iterations(factor: float) -> int:
    """Return the default `factor` times the optimizer steps of training on the retain set, at least 1."""
    return _count(factor, "iterations")


def resolve(defaults: Mapping[str, Any], training: Training, settings: OptimizerSettings) -> dict[str, Any]:
    """Return the numbers of the relative ones among the defaults."""
    return {
        name: training.number(default.factor, default.unit, settings)
        for name, default in defaults.items()
        if isinstance(default, Relative)
    }


def _count(factor: float, unit: Unit) -> int:
    count = RelativeCount(Training().number(factor, unit))
    count.factor, count.unit = factor, unit
    return count
