"""Definition of a method: a function `(task, *, hyperparameters...) -> None` that changes `task.model`.

The function name is the method name. The keyword arguments are its hyperparameters; their annotations set type and
range:

    @method(source="Kurmanji et al. 2023, arXiv 2302.09880", search={"lr": {"loguniform": [0.1, 1.0]}})
    def scrub(task: UnlearningTask, *, lr: Rate = of_lr(0.3), epochs: Count = of_epochs(0.25)) -> None: ...

Defaults may follow the training of the original (`of_lr`, `of_epochs`, `of_steps`). Every method also accepts the
shared settings (`Settings`), which the task applies. Precedence of values: the user's, the preset's, the method's
default for a shared setting, the recipe's value (where the learning rates are defaults too), the shared default.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from raybench.engine.optimization import OptimizerSettings
from raybench.errors import UserError, format_validation_error, unknown
from raybench.methods.framework.defaults import Relative, RelativeRate, Training, resolve
from raybench.registry import attach, spec_of

Rate = Annotated[float, Field(gt=0)]
"""Positive number, such as a learning rate or a temperature."""
Weight = Annotated[float, Field(ge=0)]
"""Non-negative number, such as the weight of a loss term."""
Fraction = Annotated[float, Field(ge=0, le=1)]
"""Number from 0 to 1."""
Count = Annotated[int, Field(ge=1)]
"""Positive whole number."""
Natural = Annotated[int, Field(ge=0)]
"""Non-negative whole number."""
Targets = Literal["single_label", "multi_label"]
"""Single-label: integers (N,), binary tasks with two logits included. Multi-label: 0/1 vectors (N, L)."""
Ranges = Mapping[str, Mapping[str, Sequence[Any]]]
"""Search ranges by hyperparameter, as an experiment file writes them: {"lr": {"loguniform": [0.1, 1.0]}}."""
Reproduces = Literal["released", "numbers"]
"""What a preset reproduces: the released code of a paper, bugs included, or only its numbers, on another algorithm."""

Function = TypeVar("Function", bound=Callable[..., None])
STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class Settings(OptimizerSettings):
    """Settings that every method accepts in addition to its own hyperparameters; the task applies them."""

    bn_mode: Literal["train", "frozen", "train_then_frozen"] = Field(
        default="train",
        description="statistics that BatchNorm uses: of the batch, the original's running statistics, or of the batch "
        "in the first epoch only",
    )
    joint_forward: bool = Field(
        default=False, description="send paired forget and retain samples through one forward pass"
    )
    skip_incomplete: bool = Field(default=False, description="leave incomplete batches out of forget passes and pairs")
    shuffle: bool = Field(
        default=True, description="draw a new order for every pass; if false, retain samples precede forget samples"
    )
    train_augmentation: bool = Field(
        default=True, description="apply the training augmentation to unlearning batches, if the data define one"
    )
    max_samples: Count | None = Field(
        default=None, description="budget in samples through a forward pass, after which the run stops; None: no limit"
    )


@dataclass(frozen=True)
class MethodSpec:
    """Reference, cost and requirements of a method, its notes for readers, and the released settings of its papers."""

    source: str
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reproduces: Mapping[str, Reproduces] = field(default_factory=dict)  # of every preset
    settings: Mapping[str, Any] = field(default_factory=dict)
    recipe_settings: Mapping[str, Any] = field(default_factory=dict)
    search: Ranges = field(default_factory=dict)
    targets: tuple[Targets, ...] = ("single_label", "multi_label")
    formula: str = ""
    passes: str = ""
    needs: str = ""
    released: str = ""
    limits: str = ""


def method(
    *,
    source: str,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    recipe_settings: Mapping[str, Any] | None = None,
    search: Ranges | None = None,
    targets: Sequence[Targets] = ("single_label", "multi_label"),
    formula: str = "",
    passes: str = "",
    needs: str = "",
    released: str = "",
    limits: str = "",
) -> Callable[[Function], Function]:
    """Register a function as an unlearning method.

    Args:
        source: paper, year and arXiv id.
        presets: released settings of a paper by name; users can override single values. A preset with
            `reproduces: "numbers"` sets the paper's numbers only, because the algorithm here is not that of the
            released code; without the key it reproduces the released code, bugs included.
        settings: the method's defaults for shared settings (`optimizer`, `schedule`, ...).
        recipe_settings: the method's defaults for shared settings where its learning rates follow the recipe.
        search: shipped search ranges, which `search` in an experiment file takes. Where the default of a hyperparameter
            is relative (`of_lr`, `of_epochs`), its range is in the same unit.
        targets: label kinds that the method is defined for; a run with other labels ends before the first step.
        formula: objective of the method.
        passes: forward and backward passes of an epoch, in samples.
        needs: what the model or the data must have.
        released: how the released code of a paper departs from this method, and the settings that reproduce it.
        limits: forget sets that the method is made for, or where its defaults do no better than the original model.
    """
    released_settings, reproduces = _split_presets(presets or {})
    spec = MethodSpec(
        source,
        released_settings,
        reproduces,
        dict(settings or {}),
        dict(recipe_settings or {}),
        dict(search or {}),
        tuple(targets),
        formula=formula,
        passes=passes,
        needs=needs,
        released=released,
        limits=limits,
    )

    def register(function: Function) -> Function:
        return attach(function, spec)

    return register


def _split_presets(
    presets: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, dict[str, Any]], dict[str, Reproduces]]:
    """Return the settings of every preset and what it reproduces; raise UserError for another `reproduces`."""
    reproduces: dict[str, Reproduces] = {}
    for name, values in presets.items():
        reproduces[name] = values.get("reproduces", "released")
        if reproduces[name] not in get_args(Reproduces):
            raise unknown(f"`reproduces` of preset {name}", reproduces[name], get_args(Reproduces))
    settings = {name: {k: v for k, v in values.items() if k != "reproduces"} for name, values in presets.items()}
    return settings, reproduces


@functools.cache
def hyperparameters(function: Callable[..., None]) -> type[BaseModel]:
    """Return the method's hyperparameters as a pydantic model: names, types, ranges, defaults."""
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    if bare := [p.name for p in parameters if p.default is p.empty or p.annotation is p.empty]:
        raise UserError(
            f"method {function.__name__}: {', '.join(bare)} needs a type and a default, as in lr: Rate = 0.01"
        )
    fields: dict[str, Any] = {p.name: (p.annotation, p.default) for p in parameters}
    return create_model(f"{function.__name__} hyperparameters", __config__=STRICT, **fields)


def shipped_ranges(
    function: Callable[..., None], training: Training, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the method's shipped search ranges with relative values resolved, as an experiment file writes them.

    Ranges of learning rates come with the shared settings for which they hold, unless `given` sets a rate; what it sets
    replaces the range.
    """
    fields, given = hyperparameters(function).model_fields, given or {}
    ranges: dict[str, Any] = _recipe_settings(function, training, given)
    for key, space in spec_of(function, MethodSpec).search.items():
        default = fields[key].default if key in fields else None
        for kind, values in space.items():
            if isinstance(default, Relative):
                values = list(dict.fromkeys(training.number(value, default.unit) for value in values))
                kind = "choice" if len(values) == 1 else kind
            ranges[key] = {kind: list(values)}
    return {**ranges, **given}


def _recipe_settings(function: Callable[..., None], training: Training, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shared settings that go with relative learning rates, nothing if `given` sets a rate.

    A rate that is set holds for the documented defaults of the shared settings, not for those of some recipe.
    """
    fields = hyperparameters(function).model_fields
    rates = [key for key, field in fields.items() if isinstance(field.default, RelativeRate)]
    if not rates or any(rate in given for rate in rates):
        return {}
    spec = spec_of(function, MethodSpec)
    return {**training.settings(), **spec.recipe_settings, **spec.settings}


def check(
    name: str, function: Callable[..., None], values: Mapping[str, Any], training: Training | None = None
) -> tuple[dict[str, Any], Settings]:
    """Validate the user's values against the signature; return the method's arguments and the shared settings.

    `values` may name a `preset`; single values override it. `training` is what relative defaults are resolved with, by
    default the default recipe. Raise UserError with the method, the hyperparameter, the value, what is allowed and the
    nearest valid name.
    """
    training = training or Training()
    spec = spec_of(function, MethodSpec)
    specific, shared = hyperparameters(function).model_fields, Settings.model_fields
    values = dict(values)
    preset = values.pop("preset", None)
    if preset is not None and preset not in spec.presets:
        raise unknown(f"preset of method {name}", preset, spec.presets)
    merged = {**spec.settings, **spec.presets.get(preset, {}), **values}
    for key in merged:
        if key not in specific and key not in shared:
            raise unknown(f"hyperparameter of method {name}", key, [*specific, *shared, "preset"])
    try:
        inherited = _recipe_settings(function, training, merged) if preset is None else {}
        settings = Settings.model_validate({**inherited, **{k: v for k, v in merged.items() if k not in specific}})
        relative = resolve({k: field.default for k, field in specific.items()}, training, settings)
        chosen = {**relative, **{k: v for k, v in merged.items() if k in specific}}
        arguments = hyperparameters(function).model_validate(chosen)
    except ValidationError as error:
        first = error.errors()[0]
        same = [problem for problem in error.errors() if problem["loc"][0] == first["loc"][0]]
        raise UserError(
            f"methods.{name}.{first['loc'][0]} = {first['input']!r}: {format_validation_error(same)}"
        ) from error
    # attributes instead of model_dump, which would change types such as nested models
    return {key: getattr(arguments, key) for key in specific}, settings
