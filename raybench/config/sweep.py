"""The hyperparameter search in the experiment file: the section `sweep`.

The description of a field is what `docs/experiment.md` and the JSON schema show.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from raybench import limits
from raybench.config.data import Section, Seed

RUNS = 5  # reported runs of each method
ORIGINALS = 5


class Sweep(Section):
    """The hyperparameter search: the same number of trials for every method."""

    trials: Annotated[int, Field(ge=1, le=limits.TRIALS)] = Field(
        default=20,
        description="Number of settings to try for each method. A method without search spaces is not searched.",
    )
    search: Literal["random", "optuna"] = Field(
        default="random",
        description="How settings are drawn. `random` draws all of them before the sweep starts, so an interrupted "
        "sweep ends in the same tables; `optuna` (TPE) learns from finished trials.",
    )
    scheduler: Literal["none", "asha"] = Field(
        default="none", description="`asha` stops trials early that are worse than others after as many epochs."
    )
    objective: str = Field(
        default="gap_to_retrained",
        description="Value that a setting is chosen by, computed on retain, forget and validation samples only. The "
        "gaps are mean absolute differences in percentage points. Default with `train.retrained_seeds: 0`: "
        "`gap_to_ideal`.",
        json_schema_extra={"names": "objectives"},
    )
    tuning_request: Literal["separate", "same"] = Field(
        default="separate",
        description="Deletion request that a search unlearns. `separate` draws a second forget set of the same kind "
        "and about the same size from the retain set: no sample that a search measures is reported, and reported "
        "retain metrics use the other half of the retain set. `same` tunes on the reported forget set, against the "
        "retrained models that judge afterwards, as most papers do.",
    )
    references: Annotated[int, Field(ge=1, le=limits.MODELS)] = Field(
        default=2,
        description="Models retrained without the tuning forget set, which give the targets of `gap_to_retrained` to a "
        "search and are used for nothing else. Only with `tuning_request: separate`.",
    )
    finalists: Annotated[int, Field(ge=1, le=limits.MODELS)] = Field(
        default=3,
        description="Best settings of each method that run again, with other seeds and on other originals where there "
        "are some; the best mean objective over all runs is chosen. 1 takes the best trial without running it again.",
    )
    finalist_originals: Annotated[int, Field(ge=1, le=limits.MODELS)] = Field(
        default=2,
        description="Originals other than the first that each finalist runs on, at most as many as there are. With one "
        "original, the number of further runs on it.",
    )
    seeds: Annotated[int, Field(ge=1, le=limits.MODELS)] = Field(
        default=RUNS,
        description="Runs of the chosen setting that are reported, on other seeds than the search, so that a lucky "
        "trial is not reported.",
    )
    originals: Annotated[int, Field(ge=1, le=limits.MODELS)] = Field(
        default=ORIGINALS,
        description="Number of original models, each trained on its own seed; run i starts from original i mod "
        "`originals`. Ranks from one original hold for that original only. At most `seeds`, which is the default if it "
        "is less than 5; with `model.checkpoint`, the number of its files.",
    )
    seed: Seed = Field(default=0, description="Seed of the search: draws the settings and seeds the trials.")
    stop_collapsed: bool = Field(
        default=True,
        description="Stop a trial as failed when its loss is not finite or its retain accuracy is at chance. Turn it "
        "off to report collapsed models, as some papers do.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_originals(cls, content: Any) -> Any:
        """Default to one original per run where there are fewer runs than the usual number of originals."""
        seeds = content.get("seeds") if isinstance(content, dict) else None
        if isinstance(seeds, int) and 0 < seeds < ORIGINALS and "originals" not in content:
            return {**content, "originals": seeds}
        return content

    @field_validator("originals")
    @classmethod
    def _check_originals(cls, value: int, info: ValidationInfo) -> int:
        seeds = info.data.get("seeds")
        if seeds is not None and value > seeds:
            raise ValueError(f"only {seeds} of them would start a run, since sweep.seeds is {seeds}: at most {seeds}")
        return value
