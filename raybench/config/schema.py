"""The sections of an experiment file: their keys, defaults and ranges.

`reading.py` reads a file into this schema, `validation.py` checks what spans several sections. The description of a
field is what `docs/experiment.md` and the JSON schema show.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from raybench import limits, models, paper_tables, registry
from raybench.config.data import Data, Downstream, Normalize, Section, check_options
from raybench.config.evaluate import Evaluate, Population, Relearning
from raybench.config.names import check_path_name, check_run_name
from raybench.config.spaces import Space
from raybench.config.sweep import RUNS, Sweep
from raybench.config.train import Threads, Train
from raybench.config.user_models import CHECKPOINTS, Files, check_models_of_user
from raybench.config.yaml_text import quote
from raybench.data.forget_rules import PACKAGE as FORGET_RULES
from raybench.data.forget_rules.framework.spec import ForgetRuleSpec
from raybench.engine.devices import Precision
from raybench.errors import UserError, attach_key
from raybench.models import Stem

METHOD = "method"  # key under `methods.<name>` that names the function, so that one method can run in several settings
SEARCH = "search"  # key under `methods.<name>`, or its whole value: take the ranges that are shipped with the method
ALL = "all"  # key under `methods:` that selects every built-in method without an entry

__all__ = [
    "Data",
    "Downstream",
    "Evaluate",
    "Experiment",
    "Forget",
    "Model",
    "Normalize",
    "Paper",
    "Population",
    "Relearning",
    "Resources",
    "Sweep",
    "Train",
]


class Forget(BaseModel):
    """The training samples to forget: a rule, and its options as further keys."""

    model_config = ConfigDict(extra="allow", frozen=True)

    rule: str = Field(
        description="Rule that selects the forget set among the training samples. Its options are further keys of this "
        "section.",
        json_schema_extra={"names": "rules"},
    )

    @model_validator(mode="after")
    def _check_rule(self) -> "Forget":
        with attach_key("forget", "rule"):
            function = registry.find("forget rule", self.rule, FORGET_RULES, ForgetRuleSpec)
        options = self.model_extra or {}
        check_options(("forget",), f"option of forget rule {self.rule}:", options, function)
        seed = options.get("seed", 0)
        if not isinstance(seed, int) or not 0 <= seed <= limits.SEED:
            with attach_key("forget", "seed"):
                raise UserError(f"forget.seed = {quote(repr(seed))}: must be a whole number from 0 to {limits.SEED}")
        return self


class Model(Section):
    """The architecture, and the weights it starts from."""

    name: str = Field(
        description="Architecture: `cnn`, a torchvision classifier, a model of the library timm as `timm:<name>`, or "
        "your own function that takes `num_classes` and returns a torch module.",
        json_schema_extra={"names": "models"},
    )
    stem: Stem = Field(
        default="imagenet",
        description="First layers of a residual network. `cifar` is a 3 x 3 convolution of stride 1 without max-pool, "
        "for images of about 32 pixels.",
    )
    width: Annotated[int, Field(ge=1, le=limits.WIDTH)] = Field(
        default=32, description="Channels of the first layer of `cnn`. Other models ignore it."
    )
    checkpoint: str | Files | None = Field(
        default=None,
        description="State dict of the original model (a file of torch or safetensors), or a list of several originals "
        "that differ by their training seed; originals are then not trained. Validation samples come from the test "
        "split, because these models may have been trained on any training image.",
    )
    init: str | None = Field(
        default=None,
        description="State dict that every training run starts from, of the original and the retrained models alike, "
        "for example weights pretrained on ImageNet. A head of another size is reinitialized.",
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Return the files of the originals; empty if originals are trained."""
        if self.checkpoint is None:
            return ()
        return (self.checkpoint,) if isinstance(self.checkpoint, str) else tuple(self.checkpoint)

    @model_validator(mode="after")
    def _check_architecture(self) -> "Model":
        with attach_key("model", "name"):
            models.check_name(self.name)
        with attach_key("model", "stem"):
            models.check_stem(self.name, self.stem)
        return self


class Resources(Section):
    """The hardware that one unit of work takes; Ray runs as many units at once as fit."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Device of all computations. `auto` is CUDA if the machine has it, else the CPU."
    )
    precision: Precision = Field(
        default="fp32",
        description="Precision of methods and predictions; training has `train.precision`. `auto` is bf16 on hardware "
        "that multiplies it natively, else fp32.",
    )
    threads: Threads = Field(
        default=1,
        description="CPU threads of torch in each worker. Part of every result's key, because results on a CPU repeat "
        "bit for bit only with the same number.",
    )
    cpus_per_trial: Annotated[float, Field(gt=0)] = Field(
        default=1, description="CPU cores that Ray reserves per trial."
    )
    gpus_per_trial: Annotated[float, Field(ge=0)] = Field(
        default=0, description="GPUs that Ray reserves per trial; 0.25 packs four trials on one GPU."
    )
    cpus_per_model: Annotated[float, Field(gt=0)] = Field(
        default=1, description="CPU cores that Ray reserves for training or predicting with one model."
    )
    gpus_per_model: Annotated[float, Field(ge=0)] = Field(
        default=0, description="GPUs that Ray reserves for training or predicting with one model."
    )
    retries: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=3,
        description="Times that a task is run again after its worker died (out of memory, lost node), before it counts "
        "as failed.",
    )
    wait_minutes: Annotated[float, Field(gt=0)] = Field(
        default=10,
        description="Time that a cluster has to add the nodes that a run needs, or to replace those that a "
        "data-parallel training lost, before the run gives up. Repeat the command to continue.",
    )


class Paper(Section):
    """The results reported in a paper, shown next to the results of this run."""

    table: str = Field(description="Table of reported results.", json_schema_extra={"names": "tables"})
    protocol: Literal["released", "corrected"] = Field(
        description="Protocol of this run: `released` follows the paper's code, bugs included; `corrected` fixes them. "
        "The report also shows the run of the other protocol if the storage has one."
    )

    @model_validator(mode="after")
    def _check_table(self) -> "Paper":
        with attach_key("paper", "table"):
            paper_tables.check_name(self.table)
        return self


class Experiment(Section):
    """One experiment: everything that decides its numbers."""

    name: str = Field(
        description="Name of the run and of its folder on the storage: letters, digits, '.', '_' and '-', at most "
        f"{limits.NAME}, no '.' or '-' first."
    )
    data: Data = Field(description="Which images, how they are read, and how they are split into roles.")
    forget: Forget = Field(description="Which training samples are to be forgotten.")
    model: Model = Field(description="The architecture and the weights it starts from.")
    train: Train = Field(
        default=Train(), description="How the original and the retrained models are trained, and how many there are."
    )
    methods: dict[str, dict[str, Any]] = Field(
        description="Unlearning methods, each with fixed values and search spaces of its hyperparameters. A name "
        "without values takes the defaults of the method; `search` takes the ranges that are shipped with it. The name "
        "`all` selects every built-in method without an entry. Your own method is `package.module.function`. "
        "`checkpoints: [a.pt, b.safetensors]` lists models that you unlearned yourself: each file is one run; file i "
        "started from original i mod `sweep.originals`. The "
        "names become parts of paths, so the rule for `name` applies.",
        json_schema_extra={"keys_of": "methods"},
    )
    sweep: Sweep = Field(default=Sweep(), description="How hyperparameters are searched.")
    evaluate: Evaluate = Field(default=Evaluate(), description="What is measured, and on which samples.")
    resources: Resources = Field(default=Resources(), description="Hardware of one trial and of one model.")
    paper: Paper | None = Field(
        default=None, description="Reported results of a paper that the report shows next to this run."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_objective(cls, content: Any) -> Any:
        """Default to the gap to ideal values where there are no retrained models to compute a gap to."""
        sections = (content.get(name, {}) for name in ("train", "sweep")) if isinstance(content, dict) else (None, None)
        train, sweep = sections
        if isinstance(train, dict) and isinstance(sweep, dict) and train.get("retrained_seeds") == 0:
            return {**content, "sweep": {"objective": "gap_to_ideal", **sweep}}
        return content

    @model_validator(mode="before")
    @classmethod
    def _default_originals(cls, content: Any) -> Any:
        """Default to as many originals as the user has checkpoints of, and to at least one run of each."""
        sections = (content.get(name, {}) for name in ("model", "sweep")) if isinstance(content, dict) else (None, None)
        model, sweep = sections
        if isinstance(model, dict) and isinstance(sweep, dict) and model.get("checkpoint") is not None:
            files = model["checkpoint"]
            number = max(1, len(files)) if isinstance(files, list) else 1
            runs = {"seeds": number} if number > RUNS else {}
            return {**content, "sweep": {"originals": number, **runs, **sweep}}
        return content

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        return check_run_name(value)

    @field_validator("methods", mode="before")
    @classmethod
    def _fill_empty(cls, value: Any) -> Any:
        """Read a method with nothing after its colon as one with default settings, and `search` as its own key."""
        if not isinstance(value, dict):
            return value
        return {name: _entry(name, settings) for name, settings in value.items()}

    @field_validator("methods")
    @classmethod
    def _check_entries(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in value:
            with attach_key("methods", name):
                check_path_name(name, "an entry of methods")
            if CHECKPOINTS in value[name]:
                with attach_key("methods", name, CHECKPOINTS):
                    check_models_of_user(value[name], f"methods.{name}", reserved=("original", "retrained", ALL))
        return value

    def function_name(self, method: str) -> str:
        """Return the name of the function that runs for a key of `methods:`, which its key `method` may set."""
        return str(self.methods.get(method, {}).get(METHOD, method))

    def checkpoints(self, method: str) -> tuple[str, ...]:
        """Return the files under a key of `methods:` that names finished models; empty for a method that runs."""
        return tuple(self.methods[method].get(CHECKPOINTS, ()))

    def runs(self, method: str) -> int:
        """Return the number of reported models of a method: its files, or the runs of its chosen setting."""
        return len(self.checkpoints(method)) or self.sweep.seeds

    def spaces(self, method: str) -> dict[str, Space]:
        """Return the search spaces under a key of `methods:`; a fixed value is a space with one value."""
        settings = self.methods[method].items()
        return {key: Space.parse(key, value) for key, value in settings if key not in (METHOD, CHECKPOINTS)}

    def searches(self, method: str) -> bool:
        """Return whether any hyperparameter under a key of `methods:` has a search space."""
        return any(space.kind != "fixed" for space in self.spaces(method).values())

    @property
    def tunes_separately(self) -> bool:
        """Return whether a search unlearns another forget set than the reported one."""
        return self.sweep.tuning_request == "separate" and any(map(self.searches, self.methods))


def _entry(name: str, settings: Any) -> Any:
    if settings is None:
        return {}
    if isinstance(settings, str):
        if settings != SEARCH:
            with attach_key("methods", name):
                raise UserError(
                    f"methods.{name} = {settings!r}: must be a mapping of hyperparameters, `{SEARCH}` for the shipped "
                    "search ranges, or nothing for the defaults"
                )
        return {SEARCH: True}
    return settings
