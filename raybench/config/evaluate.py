"""Evaluation in the experiment file: the section `evaluate`, with its populations and its relearning.

The description of a field is what `docs/experiment.md` and the JSON schema show.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from raybench.config.data import Downstream, Fraction, Positive, Section
from raybench.errors import UserError, attach_key


class Population(Section):
    """Many runs of some methods, compared with the retrained models as distributions."""

    methods: list[str] = Field(description="Keys of `methods:` to run; each runs its chosen setting.")
    runs: Annotated[int, Field(ge=4)] = Field(
        default=80, description="Runs of each method. Take about as many as there are retrained models."
    )
    origins: Literal["one", "one_per_run"] = Field(
        default="one",
        description="`one` starts every run from the first original; `one_per_run` trains an original for each run, "
        "which also includes the variance of training. `sweep.originals` are the first of them.",
    )
    delta: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.05, description="Delta of the (epsilon, delta) estimates: the probability mass they may ignore."
    )
    resamples: Annotated[int, Field(ge=2)] = Field(
        default=50, description="Random halves of the retrained models that the null values are averaged over."
    )


class Relearning(Section):
    """Relearn time: train each model on the forget set until it is as accurate there as the original was."""

    lr: Annotated[float, Field(gt=0)] = Field(
        default=0.01, description="Learning rate of SGD. Relearn times compare at one rate and batch size only."
    )
    batch_size: Positive = Field(default=64, description="Samples per batch.")
    max_epochs: Positive = Field(default=50, description="Epochs after which a model counts as not relearned.")
    tolerance: Fraction = Field(
        default=0.01, description="The target is the original's forget accuracy minus this fraction."
    )
    seed: int = Field(default=0, description="Seed of the training.")


class Evaluate(Section):
    """The metrics, and the samples they are computed on."""

    metrics: Literal["all"] | list[str] | dict[str, dict[str, Any]] = Field(
        default="all",
        description="Metrics to compute: `all`, a list of names, or a mapping of names to settings, for example "
        "`{knn: {k: 10}}`. `all` leaves out slow metrics and those with very many rows.",
        json_schema_extra={"names": "metrics"},
    )
    alphas: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=[0.05, 0.1, 0.2],
        description="Miscoverage levels of the conformal metrics, which are computed once per level.",
    )
    batch_size: Positive = Field(default=512, description="Samples per batch of predictions; it changes speed only.")
    train_view: Literal["clean", "augmented"] = Field(
        default="clean",
        description="Whether retain and forget samples are predicted as they are or through the training augmentation, "
        "drawn once from a fixed seed. `augmented` repeats what the code of some papers does.",
    )
    downstream: dict[str, Downstream] = Field(
        default={},
        description="Labeled data sets, by a name of your choice, that every model predicts. They show what is left in "
        "the features.",
    )
    population: Population | None = Field(
        default=None,
        description="Compare many runs as distributions, for epsilon estimates. Costs `runs` runs of each method.",
    )
    relearning: Relearning | None = Field(
        default=None,
        description="Measure how fast each model relearns the forget set. `{}` takes the defaults. Costs one training "
        "on the forget set for each model of the leaderboard.",
    )

    @field_validator("metrics", mode="before")
    @classmethod
    def _list_single_name(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) and value != "all" else value

    @model_validator(mode="after")
    def _check_downstream(self) -> "Evaluate":
        for name, images in self.downstream.items():
            key = ("evaluate", "downstream", name)
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                with attach_key(*key):
                    raise UserError(
                        f"{name!r} cannot name a downstream set, because it names files (allowed: letters, digits, '_' "
                        "and '-', a letter or digit first)"
                    )
            images.check(*key)
        return self
