"""The experiment file: what it may say, with defaults and validation. Reading it is `experiment_file.py`."""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from raybench.devices import Precision
from raybench.errors import unknown
from raybench.models import Stem
from raybench.spaces import Space
from raybench.training import Recipe

Size = Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] | None
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]


class Part(BaseModel):
    """A part of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Mislabel(Part):
    """Give this share of all samples a wrong label, as annotators do; every role gets the same noise."""

    fraction: Share
    seed: int = 0


class Sizes(Part):
    """How many samples each role gets: a count, a fraction of its pool, or null for the rest of it."""

    train: Size = None
    validation: Size = 0.1
    calibration: Size = 0.2
    test: Size = None
    unseen: Size = 0.4


class Data(Part):
    """Which images, and how they are cut into roles."""

    dataset: str
    root: str | None = None
    download: bool = False
    options: dict[str, Any] = {}
    sizes: Sizes = Sizes()
    mislabel: Mislabel | None = None
    resize: Positive | None = None
    seed: int = 0

    @field_validator("dataset")
    @classmethod
    def _known(cls, value: str) -> str:
        from raybench import data

        if value not in data.names():
            raise unknown("dataset", value, data.names())
        return value


class Forget(BaseModel):
    """Which training samples are to be forgotten: a rule and its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    rule: str

    @field_validator("rule")
    @classmethod
    def _known(cls, value: str) -> str:
        from raybench.data import forget_rules

        if value not in forget_rules.names():
            raise unknown("forget rule", value, forget_rules.names())
        return value


class Model(Part):
    """The architecture, and a checkpoint where the original is the user's own."""

    name: str
    stem: Stem = "imagenet"
    width: Positive = 32
    checkpoint: str | None = None

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        from raybench import models

        if value not in models.names():
            raise unknown("model", value, models.names())
        return value


class Train(Recipe):
    """The recipe that original and retrained models share, and how many of them there are."""

    seed: int = 0
    retrained_seeds: list[int] | Positive = 5
    workers: Positive = 1

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe.model_validate({name: getattr(self, name) for name in Recipe.model_fields})

    @property
    def seeds(self) -> list[int]:
        """Seeds of the retrained models: those listed, or as many as asked for after the original's own."""
        if isinstance(self.retrained_seeds, list):
            return self.retrained_seeds
        return [self.seed + 1 + i for i in range(self.retrained_seeds)]

    @field_validator("retrained_seeds")
    @classmethod
    def _distinct(cls, value: list[int] | int) -> list[int] | int:
        if isinstance(value, list) and (len(set(value)) < len(value) or not value):
            raise ValueError(f"seeds must be distinct and at least one, got {value}")
        return value


class Sweep(Part):
    """How hyperparameters are searched: the same number of trials for every method."""

    trials: Positive = 20
    search: Literal["random", "optuna"] = "random"
    scheduler: Literal["none", "asha"] = "none"
    objective: str = "gap_to_retrained"
    seeds: Positive = 3
    seed: int = 0
    stop_collapsed: bool = True


class Evaluate(Part):
    """What is measured."""

    metrics: Literal["all"] | list[str] | dict[str, dict[str, Any]] = "all"
    alphas: list[Annotated[float, Field(gt=0, lt=1)]] = [0.05, 0.1, 0.2]
    batch_size: Positive = 512

    @field_validator("metrics", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) and value != "all" else value


class Resources(Part):
    """What one unit of work takes. `threads` fixes the arithmetic, so that results repeat bit for bit on a CPU."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "fp32"
    threads: Positive = 1
    cpus_per_trial: Annotated[float, Field(gt=0)] = 1
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0
    cpus_per_model: Annotated[float, Field(gt=0)] = 1
    gpus_per_model: Annotated[float, Field(ge=0)] = 0
    retries: Annotated[int, Field(ge=0)] = 3


class Experiment(Part):
    """One experiment: everything that decides its numbers."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    data: Data
    forget: Forget
    model: Model
    train: Train = Train()
    methods: dict[str, dict[str, Any]]
    sweep: Sweep = Sweep()
    evaluate: Evaluate = Evaluate()
    resources: Resources = Resources()

    @field_validator("methods", mode="before")
    @classmethod
    def _drop_removed(cls, value: Any) -> Any:
        """A method set to null in a file that extends another is left out."""
        return {name: given for name, given in value.items() if given is not None} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _names_exist(self) -> "Experiment":
        from raybench import audit, methods, scoring
        from raybench.methods.spec import check

        for name, values in self.methods.items():
            function = methods.get(name)
            spaces = {key: Space.parse(f"methods.{name}.{key}", value) for key, value in values.items()}
            extremes = [{k: s.extremes[0] for k, s in spaces.items()}, {k: s.extremes[1] for k, s in spaces.items()}]
            for corner in extremes:
                check(name, function, corner)
            for key, space in spaces.items():
                for value in space.extremes:
                    check(name, function, {**extremes[0], key: value})
        scoring.chosen_metrics(self.evaluate.metrics)
        audit.check_objective(self.sweep.objective)
        return self

    def spaces(self, method: str) -> dict[str, Space]:
        """Return the method's search spaces; a fixed value is a space of one."""
        return {key: Space.parse(key, value) for key, value in self.methods[method].items()}
