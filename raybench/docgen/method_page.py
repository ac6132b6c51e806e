"""docs/methods.md: every unlearning method, with its source, formula, cost, hyperparameters and presets."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from raybench import methods, registry
from raybench.docgen.docstrings import meaning, method_docstring
from raybench.docgen.markdown import allowed_values, default_value, page, table
from raybench.docgen.measured_defaults import EXPLANATION, measured_line
from raybench.docgen.plugin_schemas import properties
from raybench.methods.framework.defaults import Relative
from raybench.methods.framework.spec import MethodSpec, Settings, hyperparameters

TARGETS = {"single_label": "single-label", "multi_label": "multi-label"}
NOTES = {"limits": "Limits", "released": "Released"}  # fields of a MethodSpec and their labels
HEADER = ("name", "default", "allowed", "meaning")
INTRODUCTION = (
    "Every method runs in an experiment (`methods: {scrub: {lr: {loguniform: [1.0e-5, 1.0e-2]}}}`) and on its own "
    '(`raybench.unlearn(model, method="scrub", forget=..., retain=..., lr=1e-3)`). `preset: <name>` takes the settings '
    "released with a paper; single values override it. A preset reproduces the released code, bugs included, unless it "
    "is marked `reproduces: numbers`: then it sets the paper's numbers, and the algorithm is the one described here. "
    '"Released" says where the code of a paper differs from the default here, and which settings reproduce it. '
    '"Limits" names the forget sets that a method is made for, or where it does no better than the original model.',
    "Defaults follow the training of the original, in an experiment its section `train`: `0.3 x train.lr` is 0.3 "
    "times its learning rate, `0.25 x train.epochs` a quarter of its epochs (rounded, at least 1), `20 steps in whole "
    "passes` as many passes over the forget set as have about 20 batches, and `0.5 x training steps` half of the "
    "steps that training on the retain set takes. Where the learning rates of a method are defaults, batch size, "
    "optimizer, momentum, weight decay and gradient clipping are those of the recipe too. Between SGD and Adam, "
    "default rates are converted by a factor of 100. `raybench check` prints the resulting numbers; "
    "`raybench.unlearn` takes the recipe as `training={...}`. Values that you set, and those of presets, are plain "
    "numbers; once you set a learning rate, the shared settings have the defaults below.",
    "Search ranges are in the same units. `methods: {scrub: search}` takes them "
    "([experiment.md](experiment.md#search-spaces)).",
    EXPLANATION,
    "Set hyperparameters in the experiment file as values or as [search spaces](experiment.md#search-spaces).",
)


def methods_page() -> str:
    """Return docs/methods.md: the settings that all methods share, then every method of the registry."""
    names = methods.names()
    shared = [
        (f"`{name}`", default_value(fragment), allowed_values(fragment), fragment.get("description", ""))
        for name, fragment in properties(Settings).items()
    ]
    return page(
        "Unlearning methods",
        *INTRODUCTION,
        f"{len(names)} methods: {', '.join(f'[{name}](#{name})' for name in names)}",
        "## Settings that every method shares",
        "Some methods have their own default for a shared setting; their section lists it.",
        table(HEADER, shared),
        *(method_section(name) for name in names),
    )


def method_section(name: str) -> str:
    """Return the section of one method."""
    function = methods.get(name)
    spec = registry.spec_of(function, MethodSpec)
    paragraphs, meanings = method_docstring(function)
    facts = {
        "source": spec.source,
        "formula": spec.formula,
        "passes": spec.passes,
        "targets": ", ".join(TARGETS[kind] for kind in spec.targets),
        "needs": spec.needs,
    }
    notes = [f"**{label}:** {note}" for field, label in NOTES.items() if (note := getattr(spec, field))]
    fields = hyperparameters(function).model_fields
    rows = [
        (f"`{key}`", _default(fields[key], fragment), allowed_values(fragment), meaning(key, fragment, meanings))
        for key, fragment in properties(hyperparameters(function)).items()
    ]
    listed = "\n".join(f"- {key}: {value}" for key, value in facts.items() if value)
    settings = table(HEADER, rows) if rows else ""
    parts = (f"## {name}", paragraphs[0], listed, *paragraphs[1:], *notes, measured_line(name), settings, presets(spec))
    return "\n\n".join(part for part in parts if part)


def presets(spec: MethodSpec) -> str:
    """Return one line for the shipped ranges, one for own defaults of shared settings, and one for each preset."""
    lines = [f"- shipped search ranges: {', '.join(map(_range, spec.search.items()))}"] if spec.search else []
    named: dict[str, Mapping[str, Any]] = {
        label: values
        for label, values in (
            ("own defaults of shared settings", spec.settings),
            ("with default learning rates", spec.recipe_settings),
        )
        if values
    }
    for name, values in spec.presets.items():
        mark = " (`reproduces: numbers`)" if spec.reproduces[name] == "numbers" else ""
        named[f"preset `{name}`{mark}"] = values
    lines += [f"- {name}: {', '.join(f'{k} {v}' for k, v in values.items())}" for name, values in named.items()]
    return "\n".join(lines)


def _default(field: FieldInfo, fragment: Mapping[str, Any]) -> str:
    return repr(field.default) if isinstance(field.default, Relative) else default_value(fragment)


def _range(item: tuple[str, Mapping[str, Sequence[Any]]]) -> str:
    key, space = item
    return ", ".join(f"{key} {kind} {list(values)}" for kind, values in space.items())
