"""docs/methods.md: every unlearning method, with its source, formula, cost, hyperparameters and presets."""

from collections.abc import Mapping
from typing import Any

from raybench import methods, registry
from raybench.docgen.docstrings import meaning, method_docstring
from raybench.docgen.markdown import allowed_values, default_value, page, table
from raybench.docgen.plugin_schemas import properties
from raybench.methods.framework.spec import MethodSpec, Settings, hyperparameters

TARGETS = {"single_label": "single-label", "multi_label": "multi-label"}
NOTES = {"limits": "On small models", "released": "Released"}  # fields of a MethodSpec and their labels
HEADER = ("name", "default", "allowed", "meaning")
INTRODUCTION = (
    "Every method runs in an experiment (`methods: {scrub: {lr: {loguniform: [1.0e-5, 1.0e-2]}}}`) and on its own "
    '(`raybench.unlearn(model, method="scrub", forget=..., retain=..., lr=1e-3)`). `preset: <name>` takes the settings '
    "released with a paper; single values override it. A preset reproduces the released code, bugs included, unless it "
    "is marked `reproduces: numbers`: then it sets the paper's numbers, and the algorithm is the one described here. "
    '"Released" says where the code of a paper differs from the default here, and which settings reproduce it. '
    '"On small models" says where the default, which is the value of the paper, falls short on networks and data as '
    "small as the quickstart's, and which values work there.",
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
    rows = [
        (f"`{key}`", default_value(fragment), allowed_values(fragment), meaning(key, fragment, meanings))
        for key, fragment in properties(hyperparameters(function)).items()
    ]
    listed = "\n".join(f"- {key}: {value}" for key, value in facts.items() if value)
    settings = table(HEADER, rows) if rows else ""
    parts = (f"## {name}", paragraphs[0], listed, *paragraphs[1:], *notes, settings, presets(spec))
    return "\n\n".join(part for part in parts if part)


def presets(spec: MethodSpec) -> str:
    """Return one line for the method's own defaults of shared settings, and one for each preset."""
    named: dict[str, Mapping[str, Any]] = {"own defaults of shared settings": spec.settings} if spec.settings else {}
    for name, values in spec.presets.items():
        mark = " (`reproduces: numbers`)" if spec.reproduces[name] == "numbers" else ""
        named[f"preset `{name}`{mark}"] = values
    return "\n".join(f"- {name}: {', '.join(f'{k} {v}' for k, v in values.items())}" for name, values in named.items())
