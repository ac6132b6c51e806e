"""Training in the experiment file: the section `train`.

The description of a field is what `docs/experiment.md` and the JSON schema show.
"""

from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from raybench import limits
from raybench.config.data import Seed
from raybench.config.user_models import CHECKPOINTS, check_models_of_user
from raybench.engine.training import Recipe
from raybench.errors import UserError, attach_key, format_validation_error, unknown

Models = Annotated[int, Field(ge=0, le=limits.MODELS)]
Threads = Annotated[int, Field(ge=1, le=limits.THREADS)]


class WorkerRange(BaseModel):
    """A number of workers that may change while a model trains."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: Threads = Field(description="Train as soon as the cluster has room for this many workers.")
    max: Threads = Field(description="Use up to this many workers when the cluster has room.")

    @model_validator(mode="after")
    def _check_order(self) -> "WorkerRange":
        if self.min > self.max:
            raise ValueError(f"min is {self.min} and max is {self.max}; min must not be larger")
        return self


class Train(Recipe):
    """The training recipe of the original and the retrained models, and the number of retrained models."""

    OPTIONS: ClassVar[tuple[str, ...]] = (*Recipe.OPTIONS, "sync_batchnorm", "compile")

    seed: Seed = Field(
        default=0, description="Seed of the first original model; further ones (`sweep.originals`) use others."
    )
    retrained_seeds: Annotated[list[Seed], Field(max_length=limits.MODELS)] | Models = Field(
        default=8,
        description="Number of retrained models, or the list of their seeds. A number n means the n seeds after "
        "`seed`. The more, the less memory goes undetected; with fewer than 5, verdicts are withheld. 1 gives gaps "
        "without a noise floor, 0 gives no gaps: the leaderboard then ranks by `gap_to_ideal`.",
    )
    retrained: dict[str, Any] = Field(
        default={},
        description="Keys of the recipe that differ for the retrained models. Leave it empty, or gaps also measure the "
        "difference between two recipes; some papers trained this way, and their reported numbers need it. "
        "`checkpoints: [a.pt, b.safetensors]` instead lists models that you retrained yourself on the retain samples "
        "only; raybench then trains none, and `retrained_seeds` is their number.",
        json_schema_extra={"keys_of": "recipe"},
    )
    workers: Threads | WorkerRange = Field(
        default=1,
        description="Workers that train one model together by data-parallel training (DDP). Small models train faster "
        "side by side with 1 worker each. Batches, schedule and augmentation are the same for any number of workers. "
        "`{min: 2, max: 8}` uses as many as the cluster has room for, and changes their number when nodes come and go; "
        "the training then continues from its last checkpoint.",
    )
    sync_batchnorm: bool = Field(
        default=False,
        description="Normalize in training over the global batch instead of over the samples of each worker "
        "(synchronized BatchNorm), for small batches per worker. One worker does so anyway.",
    )
    compile: bool = Field(
        default=False,
        description="Compile the model with `torch.compile` for training: some minutes at the start, faster steps "
        "afterwards. Needs a C++ compiler (CPU) or triton (GPU) on the workers. Predictions and unlearning do not "
        "compile.",
    )
    checkpoint_minutes: float = Field(
        default=10,
        gt=0,
        description="Write a checkpoint within an epoch when the last one is older than this many minutes; after every "
        "epoch there is one anyway. An interrupted training resumes from its last checkpoint to the same weights.",
    )

    @cached_property
    def recipe(self) -> Recipe:
        """Return the recipe of the original."""
        return Recipe.model_validate({name: getattr(self, name) for name in Recipe.model_fields})

    @cached_property
    def retrained_recipe(self) -> Recipe:
        """Return the recipe of the retrained models and of the method `retrain`."""
        changes = {key: value for key, value in self.retrained.items() if key != CHECKPOINTS}
        return Recipe.model_validate({**self.recipe.model_dump(), **changes})

    def recipe_of(self, kind: Literal["original", "retrained"]) -> Recipe:
        return self.recipe if kind == "original" else self.retrained_recipe

    @property
    def execution(self) -> Any:
        """Return what decides the weights besides recipe and seed: the workers, and how they compute.

        Several workers compute other roundings than one, and the BatchNorm statistics of smaller batches.
        """
        options = {"compile": True} if self.compile else {}
        if self.most_workers > 1:
            options["sync_batchnorm"] = self.sync_batchnorm
        workers = self.workers.model_dump() if isinstance(self.workers, WorkerRange) else self.workers
        return [workers, options] if options else self.most_workers

    @property
    def fewest_workers(self) -> int:
        """Return the number of workers that a training needs to start."""
        return self.workers.min if isinstance(self.workers, WorkerRange) else self.workers

    @property
    def most_workers(self) -> int:
        """Return the largest number of workers that train one model."""
        return self.workers.max if isinstance(self.workers, WorkerRange) else self.workers

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Return the files of retrained models; empty if they are trained."""
        return tuple(self.retrained.get(CHECKPOINTS, ()))

    @model_validator(mode="before")
    @classmethod
    def _count_checkpoints(cls, content: Any) -> Any:
        """Default the number of retrained models to that of the user's checkpoints."""
        retrained = content.get("retrained") if isinstance(content, dict) else None
        files = retrained.get(CHECKPOINTS) if isinstance(retrained, dict) else None
        if isinstance(files, list) and files and content.get("retrained_seeds") is None:
            return {**content, "retrained_seeds": len(files)}
        return content

    @model_validator(mode="after")
    def _check_retrained_files(self) -> "Train":
        if CHECKPOINTS not in self.retrained:
            return self
        with attach_key("train", "retrained", CHECKPOINTS):
            check_models_of_user(self.retrained, "train.retrained")
        if len(self.seeds) != len(self.checkpoints):
            with attach_key("train", "retrained_seeds"):
                raise UserError(
                    f"train.retrained_seeds = {self.retrained_seeds}: train.retrained.checkpoints lists "
                    f"{len(self.checkpoints)} retrained models; remove `retrained_seeds`"
                )
        return self

    @model_validator(mode="after")
    def _check_retrained_recipe(self) -> "Train":
        for key in self.retrained:
            if key not in (*Recipe.model_fields, CHECKPOINTS):
                with attach_key("train", "retrained", key):
                    raise unknown("key of train.retrained:", key, [*Recipe.model_fields, CHECKPOINTS])
        try:
            _ = self.retrained_recipe
        except ValidationError as error:
            problem = error.errors()[0]
            key = str(problem["loc"][0]) if problem["loc"] else ""
            value = f"train.retrained.{key} = {self.retrained[key]!r}" if key in self.retrained else "train.retrained"
            with attach_key("train", "retrained", *([key] if key in self.retrained else [])):
                raise UserError(f"{value}: {format_validation_error([problem])}") from error
        return self

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of the retrained models: the listed ones, or the ones that follow the original's seed."""
        if isinstance(self.retrained_seeds, list):
            return self.retrained_seeds
        return [self.seed + 1 + i for i in range(self.retrained_seeds)]

    @field_validator("retrained_seeds")
    @classmethod
    def _check_distinct(cls, value: list[int] | int) -> list[int] | int:
        if isinstance(value, list) and (len(set(value)) < len(value) or not value):
            raise ValueError("seeds must be distinct, at least one; for no retrained models write 0 instead of a list")
        return value
