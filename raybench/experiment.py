"""The experiment file: what it may say, with defaults and validation. Reading it is `experiment_file.py`."""

import inspect
import re
from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from raybench import models, registry
from raybench.data.forget_rules import PACKAGE as FORGET_RULES
from raybench.data.forget_rules.spec import ForgetRuleSpec
from raybench.data.images import DatasetSpec
from raybench.data.views import View
from raybench.devices import Precision
from raybench.errors import UserError, about, unknown
from raybench.models import Stem
from raybench.spaces import Space
from raybench.training import Recipe


def _size(value: Any) -> Any:
    count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not (value is None or count or (isinstance(value, float) and 0 < value < 1)):
        raise ValueError("must be a count, a share between 0 and 1, or null for the rest of the pool")
    return value


Size = Annotated[int | float | None, BeforeValidator(_size)]
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


class Normalize(Part):
    """Mean and standard deviation per channel of pixels / 255, instead of the dataset's own."""

    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]


class Data(Part):
    """Which images, and how they are cut into roles.

    `view`, for images that are files of any size: the square that a model sees of each. `stream`: decode them again and
    again while training, instead of once into memory (auto: where they would take more than 8 GB).
    """

    dataset: str
    root: str | None = None
    download: bool = False
    options: dict[str, Any] = {}
    sizes: Sizes = Sizes()
    mislabel: Mislabel | None = None
    resize: Positive | None = None
    view: View | None = None
    stream: Literal["auto"] | bool = "auto"
    on_corrupt: Literal["refuse", "skip"] = "refuse"
    deduplicate: Literal["none", "perceptual_hash"] = "none"
    normalize: Literal["dataset", "none"] | Normalize = "dataset"
    seed: int = 0

    @model_validator(mode="after")
    def _known(self) -> "Data":
        with about("data", "dataset"):
            function = registry.find("dataset", self.dataset, "raybench.data", DatasetSpec)
        _refuse_unknown(("data", "options"), f"option of dataset {self.dataset}:", self.options, function, {"download"})
        return self


class Forget(BaseModel):
    """Which training samples are to be forgotten: a rule and its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    rule: str

    @model_validator(mode="after")
    def _known(self) -> "Forget":
        with about("forget", "rule"):
            function = registry.find("forget rule", self.rule, FORGET_RULES, ForgetRuleSpec)
        _refuse_unknown(("forget",), f"option of forget rule {self.rule}:", self.model_extra or {}, function)
        return self


class Model(Part):
    """The architecture, and a checkpoint where the original is the user's own."""

    name: str
    stem: Stem = "imagenet"
    width: Positive = 32
    checkpoint: str | None = None

    @model_validator(mode="after")
    def _known(self) -> "Model":
        with about("model", "name"):
            models.check_name(self.name)
        with about("model", "stem"):
            models.check_stem(self.name, self.stem)
        return self


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
            raise ValueError("seeds must be distinct, and at least one")
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


class Population(Part):
    """Many runs of the chosen setting of some methods, to compare as a distribution with the retrained models.

    `origins: one` starts all of them from the original; `one_per_run` trains one original for each.
    """

    methods: list[str]
    runs: Annotated[int, Field(ge=4)] = 80
    origins: Literal["one", "one_per_run"] = "one"
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.05
    resamples: Annotated[int, Field(ge=2)] = 50


class Relearning(Part):
    """Train each model on the forget set alone until it is as accurate there as the original, less `tolerance`."""

    lr: Annotated[float, Field(gt=0)] = 0.01
    batch_size: Positive = 64
    max_epochs: Positive = 50
    tolerance: Share = 0.01
    seed: int = 0


class Evaluate(Part):
    """What is measured."""

    metrics: Literal["all"] | list[str] | dict[str, dict[str, Any]] = "all"
    alphas: list[Annotated[float, Field(gt=0, lt=1)]] = [0.05, 0.1, 0.2]
    batch_size: Positive = 512
    population: Population | None = None
    relearning: Relearning | None = None

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

    name: str
    data: Data
    forget: Forget
    model: Model
    train: Train = Train()
    methods: dict[str, dict[str, Any]]
    sweep: Sweep = Sweep()
    evaluate: Evaluate = Evaluate()
    resources: Resources = Resources()

    @field_validator("name")
    @classmethod
    def _is_a_folder(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
            raise ValueError("must be letters, digits, '.', '_' and '-', a letter or digit first: it names a folder")
        return value

    @field_validator("methods", mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        """A method with nothing after its colon takes its defaults."""
        return (
            {name: {} if given is None else given for name, given in value.items()}
            if isinstance(value, dict)
            else value
        )

    @model_validator(mode="after")
    def _names_exist(self) -> "Experiment":
        from raybench import audit, methods, scoring
        from raybench.methods.spec import check

        for name, values in self.methods.items():
            with about("methods", name):
                function = methods.get(name)
            spaces: dict[str, Space] = {}
            for key, value in values.items():
                with about("methods", name, key):
                    spaces[key] = Space.parse(f"methods.{name}.{key}", value)
                    for end in spaces[key].extremes:
                        check(name, function, {key: end})
            with about("methods", name):  # values that are valid one by one may not be so together
                for end in (0, 1):
                    check(name, function, {key: space.extremes[end] for key, space in spaces.items()})
        with about("evaluate", "metrics"):
            scoring.chosen_metrics(self.evaluate.metrics)
        with about("sweep", "objective"):
            audit.check_objective(self.sweep.objective)
        if (population := self.evaluate.population) is not None:
            with about("evaluate", "population", "methods"):
                for name in population.methods:
                    if name not in self.methods:
                        raise unknown("method of the population", name, self.methods)
            if population.origins == "one_per_run" and self.model.checkpoint is not None:
                with about("evaluate", "population", "origins"):
                    raise UserError(
                        "one_per_run trains its own originals, but model.checkpoint gives one (allowed: one)"
                    )
        return self

    def spaces(self, method: str) -> dict[str, Space]:
        """Return the method's search spaces; a fixed value is a space of one."""
        return {key: Space.parse(key, value) for key, value in self.methods[method].items()}


def _refuse_unknown(
    at: tuple[str, ...],
    kind: str,
    given: Iterable[str],
    function: Callable[..., Any],
    internal: Collection[str] = (),
) -> None:
    """Refuse options that are not keyword arguments of the function."""
    parameters = inspect.signature(function).parameters.values()
    allowed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in internal]
    for option in given:
        if option not in allowed:
            with about(*at, option):
                raise unknown(kind, option, allowed)
