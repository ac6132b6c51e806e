"""Write the reference pages from what the code says about itself: docstrings, signatures and the specs of decorators.

    python -m raybench.docgen.pages [docs]

A page that is not what this writes is out of date, and a test says so.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from raybench import methods, metrics, registry
from raybench.docgen.content import FUNCTIONS, OF_FUNCTIONS, OF_METRICS, OF_POPULATIONS, RELEARNING, functions
from raybench.engine import relearning
from raybench.engine.relearning import relearn
from raybench.methods.framework.spec import MethodSpec, Settings, hyperparameters
from raybench.metrics.framework.spec import MetricSpec
from raybench.metrics.functions import epsilon, likelihood, population

GENERATED = "<!-- written by `python -m raybench.docgen.pages`; edit the docstrings instead -->"
DIRECTIONS = {"match": "match retrained", "raise": "higher is better", "lower": "lower is better"}
COMMON = {"lr": "learning rate", "epochs": "passes, as the method counts them"}
TARGETS = {"single_label": "single-label", "multi_label": "multi-label"}
NOTES = {"small_models": "On small models", "released": "Released"}  # fields of a MethodSpec, as the page labels them
LIMITS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
OF_METHODS = (
    "Every method runs in an experiment (`methods: {scrub: {lr: {loguniform: [1.0e-5, 1.0e-2]}}}`) and alone "
    '(`raybench.unlearn(model, method="scrub", forget=..., retain=..., lr=1e-3)`). `preset: <name>` takes a source\'s '
    'released settings, of which single values can be overridden. "Released" says where a source\'s code differs from '
    'the method as it is here by default, and how to get its form; "on small models" where the default, a paper\'s '
    "value, falls short on a network and a data set as small as the quickstart's, and what works there."
)
SETTING = ("name", "default", "allowed", "meaning")


def methods_page() -> str:
    """Return docs/methods.md: what all methods share, then every method of the registry."""
    names = methods.names()
    shared = [(f"`{n}`", default(f), allowed(f), f.description or "") for n, f in Settings.model_fields.items()]
    parts = [
        "# Unlearning methods",
        GENERATED,
        OF_METHODS,
        f"{len(names)} methods: {', '.join(f'[{name}](#{name})' for name in names)}",
        "## Settings that every method shares",
        "A method may have its own default for some of them (given there).",
        table(SETTING, shared),
        *(method_entry(name) for name in names),
    ]
    return "\n\n".join(parts) + "\n"


def method_entry(name: str) -> str:
    """Return the section of one method."""
    function = methods.get(name)
    spec = registry.spec_of(function, MethodSpec)
    paragraphs, meanings = read_docstring(function)
    facts = {
        "source": spec.source,
        "formula": spec.formula,
        "passes": spec.passes,
        "targets": ", ".join(TARGETS[kind] for kind in spec.targets),
        "needs": spec.needs,
    }
    notes = [f"**{label}:** {note}" for name, label in NOTES.items() if (note := getattr(spec, name))]
    own = [
        (f"`{key}`", default(field), allowed(field), meanings.get(key) or field.description or COMMON.get(key, ""))
        for key, field in hyperparameters(function).model_fields.items()
    ]
    listed = "\n".join(f"- {key}: {value}" for key, value in facts.items() if value)
    settings = table(SETTING, own) if own else ""
    return "\n\n".join(
        part for part in (f"## {name}", paragraphs[0], listed, *paragraphs[1:], *notes, settings, presets(spec)) if part
    )


def read_docstring(function: Callable[..., Any]) -> tuple[list[str], dict[str, str]]:
    """Return a method's paragraphs, and the meaning of every argument."""
    body, _, arguments = docstring(function).partition("Args:\n")
    paragraphs = [" ".join(part.split()) for part in body.split("\n\n") if part.strip()]
    meanings: dict[str, str] = {}
    for names, meaning in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE):
        for name in names.split(", "):
            meanings[name] = " ".join(meaning.split())
    return paragraphs, meanings


def presets(spec: MethodSpec) -> str:
    """Return one line for the method's own defaults of shared settings, and one for each preset."""
    named = {"own defaults of shared settings": spec.settings} if spec.settings else {}
    named |= {f"preset `{name}`": values for name, values in spec.presets.items()}
    return "\n".join(f"- {name}: {', '.join(f'{k} {v}' for k, v in values.items())}" for name, values in named.items())


def default(field: FieldInfo) -> str:
    """Return a setting's default, floats to six digits."""
    if isinstance(field.default, float) and field.default != round(field.default, 6):
        return f"{field.default:.6g}"
    return str(field.default)


def allowed(field: FieldInfo) -> str:
    """Return what a setting accepts: its choices, or its type and range."""
    parts = list(flat(field.annotation))
    optional = " or None" if type(None) in parts else ""
    if choices := [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]:
        return ", ".join(str(choice) for choice in choices) + optional
    kind = next(part for part in parts if part is not type(None))
    bounds = [*field.metadata, *(bound for part in parts for bound in getattr(part, "metadata", None) or [])]
    limits = [f"{sign} {getattr(b, key):g}" for b in bounds for key, sign in LIMITS.items() if hasattr(b, key)]
    return " ".join([(get_origin(kind) or kind).__name__, *limits]) + optional


def flat(annotation: Any) -> Iterator[Any]:
    """Yield the parts of a union, each stripped of `Annotated`, then what it was annotated by."""
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from flat(part)
    elif get_origin(annotation) is Annotated:
        inner, *rest = get_args(annotation)
        yield from flat(inner)
        yield from rest
    else:
        yield annotation


def metrics_page() -> str:
    """Return docs/metrics.md: every metric of the evaluation, what is measured on populations, and the functions."""
    found = registry.discover(metrics.__name__, MetricSpec)
    specs = {name: registry.spec_of(function, MetricSpec) for name, function in found.items()}
    parts = [
        "# Metrics",
        GENERATED,
        *OF_METRICS,
        overview(specs),
        *(entry(name, function, metric_facts(function, specs[name])) for name, function in found.items()),
        "# Relearning",
        docstring(relearning),
        entry("relearn", relearn, RELEARNING),
        "# Populations",
        docstring(population),
        overview(population.specs()),
        "`_null`, `_excess` and `_control` complete each of these names but the ceilings.",
        "## Epsilon",
        docstring(epsilon),
        "## Likelihood ratios",
        docstring(likelihood),
        *(entry(function.__name__, function, {}) for function in OF_POPULATIONS),
        "# Functions",
        OF_FUNCTIONS,
        *function_entries(),
    ]
    return "\n\n".join(parts) + "\n"


def overview(specs: Mapping[str, MetricSpec]) -> str:
    """Return one table row for each metric."""
    rows = [
        (f"`{name}`", ", ".join(s.splits) or "whole model", DIRECTIONS[s.direction], span(s), ideal(s), s.protocol)
        for name, s in specs.items()
    ]
    return table(("metric", "split", "direction", "range", "ideal", "protocol"), rows)


def metric_facts(function: Callable[..., Any], spec: MetricSpec) -> dict[str, str]:
    """Return what stands in the list under a metric's definition."""
    facts = {
        "Source": spec.source,
        "Reads": needs(function),
        "Splits": ", ".join(spec.splits) or "once per model",
        "Direction": f"{DIRECTIONS[spec.direction]}; range {span(spec)}, ideal {ideal(spec)}",
        "Protocol": spec.protocol,
        "Asked for": "by name only; `metrics: all` leaves it out" if spec.on_request else "",
        "Cost": spec.cost,
        "When not to trust it": spec.caution,
        "Released code": spec.released,
    }
    return {key: value for key, value in facts.items() if value}


def function_entries() -> Iterator[str]:
    """Yield the sections of modules whose functions are for use alone, each with what it takes and returns."""
    for module, names in FUNCTIONS:
        room = module.__name__.rsplit(".", 1)[-1]
        yield from (f"## {room}", docstring(module))
        for name, function in functions(module, names).items():
            facts = {"Takes": needs(function), "Returns": returned(function)}
            yield entry(f"{room}.{name}", function, facts, level=3)


def entry(name: str, function: Callable[..., Any], facts: Mapping[str, str], level: int = 2) -> str:
    """Return the section of one function: its docstring, the facts, a table of its settings and their defaults."""
    listed = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    settings = [
        (f"`{p.name}`", f"`{written(p.annotation)}`", f"`{p.default!r}`")
        for p in parameters(function)
        if p.default is not inspect.Parameter.empty
    ]
    defaults = table(("setting", "type", "default"), settings) if settings else ""
    return "\n\n".join(part for part in (f"{'#' * level} {name}", docstring(function), listed, defaults) if part)


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function."""
    return list(inspect.signature(function).parameters.values())


def needs(function: Callable[..., Any]) -> str:
    """Return the arguments without a default."""
    return ", ".join(f"`{p.name}`" for p in parameters(function) if p.default is inspect.Parameter.empty)


def returned(function: Callable[..., Any]) -> str:
    """Return the type that a function returns, with the names of its fields if it has any."""
    given = inspect.signature(function).return_annotation
    found = given if inspect.isclass(given) else (get_args(given) or (None,))[-1]
    names = ", ".join(getattr(found, "__annotations__", {}))
    return f"`{written(given)}`" + (f" ({names})" if names else "")


def written(annotation: Any) -> str:
    """Return a type as written, without module names; a `|` would end a table cell."""
    text = re.sub(
        r"\b(raybench|typing|collections|numpy|torch)(\.\w+)*\.(?=\w)", "", inspect.formatannotation(annotation)
    )
    return text.replace(" | ", " or ")


def docstring(documented: object) -> str:
    """Return a docstring without its indentation; empty where there is none."""
    return (inspect.getdoc(documented) or "").strip()


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def span(spec: MetricSpec) -> str:
    """Return a metric's range in words."""
    if math.isinf(spec.low) and math.isinf(spec.high):
        return "any"
    if math.isinf(spec.high):
        return f"{spec.low:g} and above"
    return f"{spec.low:g} to {spec.high:g}"


def ideal(spec: MetricSpec) -> str:
    """Return a metric's ideal value in words."""
    return "the retrained models'" if spec.ideal is None else f"{spec.ideal:g}"


def main(folder: str = "docs") -> None:
    """Write every page into `folder`."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / "methods.md").write_text(methods_page(), encoding="utf-8")
    (target / "metrics.md").write_text(metrics_page(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])
