"""What a method is: a function `(task, *, hyperparameters...) -> None` that changes `task.model`.

The name is the function's; the hyperparameters are its keyword arguments, whose annotations give type and range:

    @method(source="Kurmanji et al. 2023, arXiv 2302.09880", presets={"mufac": {"temperature": 4.0}})
    def scrub(task: UnlearningTask, *, lr: Rate = 5e-4, epochs: Count = 5, temperature: Rate = 4.0) -> None: ...

Beside its own, every method takes the shared settings (`Settings`), which the task applies. A value is looked up in
this order: what the user gave, the named preset, the method's own default for a shared setting, the shared default.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from raybench.engine.optimization import OptimizerSettings
from raybench.errors import UserError, in_words, unknown
from raybench.registry import attach, spec_of

Rate = Annotated[float, Field(gt=0)]
"""A positive real: a learning rate, a temperature."""
Weight = Annotated[float, Field(ge=0)]
"""A non-negative real: the weight of a loss term."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A fraction from 0 to 1."""
Count = Annotated[int, Field(ge=1)]
"""A positive whole number."""
Natural = Annotated[int, Field(ge=0)]
"""A whole number from 0."""
Targets = Literal["single_label", "multi_label"]
"""Single-label: integers (N,), a binary task with two logits among them. Multi-label: 0/1 vectors (N, L)."""

Function = TypeVar("Function", bound=Callable[..., None])
STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class Settings(OptimizerSettings):
    """Settings that every method accepts beside its own hyperparameters; the task applies them."""

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
    """Where a method comes from, what it costs and needs, and its sources' released settings as data."""

    source: str
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[Targets, ...] = ("single_label", "multi_label")
    formula: str = ""
    passes: str = ""
    needs: str = ""


def method(
    *,
    source: str,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    targets: Sequence[Targets] = ("single_label", "multi_label"),
    formula: str = "",
    passes: str = "",
    needs: str = "",
) -> Callable[[Function], Function]:
    """Mark a function as an unlearning method.

    Args:
        source: paper and identifier.
        presets: a source's released settings by name; single values can be overridden.
        settings: the method's own defaults for shared settings (`optimizer`, `schedule`, ...).
        targets: the kinds of labels that it is defined for; others are refused before it starts.
        formula, passes, needs: its objective, the samples that an epoch costs, what the model or data must have.
    """

    def mark(function: Function) -> Function:
        spec = MethodSpec(source, dict(presets or {}), dict(settings or {}), tuple(targets), formula, passes, needs)
        return attach(function, spec)

    return mark


@functools.cache
def hyperparameters(function: Callable[..., None]) -> type[BaseModel]:
    """Return the method's own hyperparameters as a pydantic model: names, types, ranges, defaults."""
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    if bare := [p.name for p in parameters if p.default is p.empty or p.annotation is p.empty]:
        raise UserError(f"method {function.__name__}: {', '.join(bare)} needs a type and a default, as lr: Rate = 0.01")
    fields: dict[str, Any] = {p.name: (p.annotation, p.default) for p in parameters}
    return create_model(f"{function.__name__} hyperparameters", __config__=STRICT, **fields)


def check(name: str, function: Callable[..., None], values: Mapping[str, Any]) -> tuple[dict[str, Any], Settings]:
    """Validate what a user gave against the signature; return the method's arguments and the shared settings.

    `values` may name a `preset`; single values override it. Raises UserError that names the method, the
    hyperparameter, the value, what is allowed and the nearest valid name.
    """
    spec, own, shared = spec_of(function, MethodSpec), hyperparameters(function).model_fields, Settings.model_fields
    given = dict(values)
    preset = given.pop("preset", None)
    if preset is not None and preset not in spec.presets:
        raise unknown(f"preset of method {name}", preset, spec.presets)
    merged = {**spec.settings, **spec.presets.get(preset, {}), **given}
    for key in merged:
        if key not in own and key not in shared:
            raise unknown(f"hyperparameter of method {name}", key, [*own, *shared, "preset"])
    try:
        arguments = hyperparameters(function).model_validate({k: v for k, v in merged.items() if k in own})
        settings = Settings.model_validate({k: v for k, v in merged.items() if k not in own})
    except ValidationError as error:
        first = error.errors()[0]
        same = [problem for problem in error.errors() if problem["loc"][0] == first["loc"][0]]
        raise UserError(f"methods.{name}.{first['loc'][0]} = {first['input']!r}: {in_words(same)}") from error
    # attributes rather than a dump: tuples and None stay exactly as the signature says
    return {key: getattr(arguments, key) for key in own}, settings
