"""The experiment file: what it may say, with defaults and validation. Reading it is `experiment_file.py`."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from raybench import models, paper_tables, registry
from raybench.config.data import Data, Downstream, Normalize, Part, Positive, Share, refuse_unknown
from raybench.config.spaces import Space
from raybench.data.forget_rules import PACKAGE as FORGET_RULES
from raybench.data.forget_rules.framework.spec import ForgetRuleSpec
from raybench.engine.devices import Precision
from raybench.engine.training import Recipe
from raybench.errors import UserError, about, in_words, unknown
from raybench.models import Stem

METHOD = "method"  # of an entry of `methods:`: one method in two settings has two entries

__all__ = ["Data", "Downstream", "Evaluate", "Experiment", "Forget", "Model", "Normalize", "Relearning", "Train"]


class Forget(BaseModel):
    """Which training samples are to be forgotten: a rule and its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    rule: str

    @model_validator(mode="after")
    def _known(self) -> "Forget":
        with about("forget", "rule"):
            function = registry.find("forget rule", self.rule, FORGET_RULES, ForgetRuleSpec)
        refuse_unknown(("forget",), f"option of forget rule {self.rule}:", self.model_extra or {}, function)
        return self


class Model(Part):
    """The architecture, and a checkpoint where the original is the user's own.

    `name` may be the user's own `package.module.function`. `init` is a state dict that every training starts from, the
    original's and the retrained models' alike.
    """

    name: str
    stem: Stem = "imagenet"
    width: Positive = 32
    checkpoint: str | None = None
    init: str | None = None

    @model_validator(mode="after")
    def _known(self) -> "Model":
        with about("model", "name"):
            models.check_name(self.name)
        with about("model", "stem"):
            models.check_stem(self.name, self.stem)
        return self


class Train(Recipe):
    """The recipe of original and retrained models, and how many of them there are.

    `retrained` replaces values of the recipe for the retrained models alone. Some sources did so; then the gap to them
    is that of two recipes too, so leave it empty unless a printed number is to be repeated.
    """

    seed: int = 0
    retrained_seeds: list[int] | Annotated[int, Field(ge=0)] = 5
    retrained: dict[str, Any] = Field(default={})
    workers: Positive = 1

    @cached_property
    def recipe(self) -> Recipe:
        """Return the original's recipe."""
        return Recipe.model_validate({name: getattr(self, name) for name in Recipe.model_fields})

    @cached_property
    def retrained_recipe(self) -> Recipe:
        """Return the recipe of the retrained models, and of the method `retrain`."""
        return Recipe.model_validate({**self.recipe.model_dump(), **self.retrained})

    def recipe_of(self, kind: Literal["original", "retrained"]) -> Recipe:
        return self.recipe if kind == "original" else self.retrained_recipe

    @model_validator(mode="after")
    def _retrained_is_a_recipe(self) -> "Train":
        for key in self.retrained:
            if key not in Recipe.model_fields:
                with about("train", "retrained", key):
                    raise unknown("key of train.retrained:", key, Recipe.model_fields)
        try:
            _ = self.retrained_recipe
        except ValidationError as error:
            problem = error.errors()[0]
            key = str(problem["loc"][0]) if problem["loc"] else ""
            given = f"train.retrained.{key} = {self.retrained[key]!r}" if key in self.retrained else "train.retrained"
            with about("train", "retrained", *([key] if key in self.retrained else [])):
                raise UserError(f"{given}: {in_words([problem])}") from error
        return self

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
            raise ValueError("seeds must be distinct, and at least one (0 instead of a list: no retrained models)")
        return value


class Sweep(Part):
    """How hyperparameters are searched: the same number of trials for every method.

    `objective` is gap_to_ideal by default where there are no retrained models (train.retrained_seeds: 0).
    """

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
    """What is measured, and on what.

    `downstream`: sets of other images, by name, that every model is asked about, since what is left in its features
    shows in how well they serve there. `train_view`: whether retain and forget are predicted as they are or through the
    training augmentation, drawn once from a fixed seed, as the code of some sources does.
    """

    metrics: Literal["all"] | list[str] | dict[str, dict[str, Any]] = "all"
    alphas: list[Annotated[float, Field(gt=0, lt=1)]] = Field(default=[0.05, 0.1, 0.2])
    batch_size: Positive = 512
    train_view: Literal["clean", "augmented"] = "clean"
    downstream: dict[str, Downstream] = Field(default={})
    population: Population | None = None
    relearning: Relearning | None = None

    @field_validator("metrics", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) and value != "all" else value

    @model_validator(mode="after")
    def _downstream_sets_are_known(self) -> "Evaluate":
        for name, given in self.downstream.items():
            at = ("evaluate", "downstream", name)
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                with about(*at):
                    raise UserError(
                        f"{name!r} cannot name a downstream set: letters, digits, '_' and '-', a letter or digit "
                        "first, since it names files"
                    )
            given.check(*at)
        return self


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


class Published(Part):
    """The printed numbers that the report shows beside this run's, and whose protocol the run follows.

    `released` is the source's recipe, faults included; `corrected` is ours. The run of the other protocol is looked for
    on the same storage.
    """

    table: str
    protocol: Literal["released", "corrected"]

    @model_validator(mode="after")
    def _known(self) -> "Published":
        with about("published", "table"):
            paper_tables.check_name(self.table)
        return self


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
    published: Published | None = None

    @model_validator(mode="before")
    @classmethod
    def _aim(cls, content: Any) -> Any:
        from raybench.config import validation

        return validation.with_default_objective(content)

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
    def _fits_together(self) -> "Experiment":
        from raybench.config import validation  # it knows methods and metrics, which are slow to import

        validation.check(self)
        return self

    def function_name(self, method: str) -> str:
        """Return the name of the function behind an entry of `methods:`; its key `method` says so where they differ."""
        return str(self.methods.get(method, {}).get(METHOD, method))

    def spaces(self, method: str) -> dict[str, Space]:
        """Return the search spaces of an entry of `methods:`; a fixed value is a space of one."""
        return {key: Space.parse(key, value) for key, value in self.methods[method].items() if key != METHOD}
