"""Evaluation in the experiment file: the section `evaluate`, with its populations and its relearning.

The description of a field is what `docs/experiment.md` and the JSON schema show.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from raybench import limits
from raybench.config.data import Downstream, Fraction, Positive, Section, Seed
from raybench.config.names import check_path_name
from raybench.data.splits import ROLES
from raybench.errors import UserError, attach_key, unknown


class Population(Section):
    """Many runs of some methods, compared with the retrained models as distributions."""

    methods: list[str] = Field(description="Keys of `methods:` to run; each runs its chosen setting.")
    runs: Annotated[int, Field(ge=4, le=limits.MODELS)] = Field(
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
    resamples: Annotated[int, Field(ge=2, le=limits.MODELS)] = Field(
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
    seed: Seed = Field(default=0, description="Seed of the training.")


class Evaluate(Section):
    """The metrics, and the samples they are computed on."""

    metrics: Literal["all"] | list[str] | dict[str, dict[str, Any]] = Field(
        default="all",
        description="Metrics to compute: `all`, a list of names, or a mapping of names to settings, for example "
        "`{knn: {k: 10}}`. `all` leaves out slow metrics and those with very many rows.",
        json_schema_extra={"names": "metrics"},
    )
    margin: Fraction = Field(
        default=0.1,
        description="Residual memory that counts as forgotten: the verdict is `forgotten` if the upper 95 % bound is "
        "below this fraction of what the original remembers.",
    )
    alphas: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(max_length=limits.ALPHAS)] = Field(
        default=[0.05, 0.1, 0.2],
        description="Distinct miscoverage levels of the conformal metrics, which are computed once per level.",
    )
    batch_size: Positive = Field(default=512, description="Samples per batch of predictions; it changes speed only.")
    stream_above: Positive = Field(
        default=100_000,
        description="Samples above which a split is never held whole: signals of each sample are stored instead of "
        "logits and features, and what else the metrics need is computed while the predictions pass.",
    )
    keep: dict[str, Literal["signals", "logits", "features"]] = Field(
        default={},
        description="What to store of a split above `stream_above`, by split: `signals` (some 90 bytes a sample and "
        "model), `logits` as well, or `features` and logits, as for a small split. Example: `{retain: logits}`.",
    )
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

    @field_validator("alphas")
    @classmethod
    def _check_distinct(cls, value: list[float]) -> list[float]:
        if len(set(value)) < len(value):
            raise ValueError("alphas must be distinct: each is computed once")
        return value

    @model_validator(mode="after")
    def _check_downstream(self) -> "Evaluate":
        for name, images in self.downstream.items():
            key = ("evaluate", "downstream", name)
            with attach_key(*key):
                check_path_name(name, "a downstream set")
                if "." in name:
                    raise UserError(f"{name!r} cannot name a downstream set: it holds a '.'")
            images.check(*key)
        splits = [*ROLES, *(f"downstream-{name}" for name in self.downstream)]
        for split in self.keep:
            with attach_key("evaluate", "keep", split):
                if split not in splits:
                    raise unknown("split", split, splits)
        return self
