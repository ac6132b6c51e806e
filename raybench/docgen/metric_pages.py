"""docs/metrics.md, the overview of all metrics, and one page per family under docs/metrics/."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping

from raybench import metrics, registry
from raybench.docgen import content
from raybench.docgen.docstrings import docstring, parameters, required_arguments, return_type, summary, type_name
from raybench.docgen.families import FAMILIES, OTHER, Family, family_of
from raybench.docgen.markdown import page, table
from raybench.engine import relearning
from raybench.engine.relearning import relearn
from raybench.metrics.framework.spec import MetricSpec
from raybench.metrics.functions import epsilon, likelihood, population, residual_memory

DIRECTIONS = {"match": "match retrained", "raise": "higher is better", "lower": "lower is better"}
HEADER = ("metric", "what it shows", "split", "direction", "range", "ideal", "protocol")
RELEARNING, POPULATIONS, FUNCTIONS = "relearning", "populations", "functions"
MEMORY = Family(
    "Residual memory",
    "How much of what the original knows about the forget set is left: the number of the verdict.",
    (),
)
MORE: Mapping[str, Family] = {
    RELEARNING: Family("Relearning", "How fast a model relearns the forget set.", ()),
    POPULATIONS: Family("Populations", "Many runs of a method compared with many retrained models.", ()),
    FUNCTIONS: Family("Functions that metrics call", "The arithmetic of the metrics, for use on its own.", ()),
}


def overview_page() -> str:
    """Return docs/metrics.md: what the columns mean, the pages, and one table of all metrics."""
    index = [
        (f"[{family.title}](metrics/{name}.md)", family.summary, ", ".join(f"`{m}`" for m in _functions_of(name)))
        for name, family in families().items()
    ]
    return page(
        "Metrics",
        *content.OVERVIEW,
        table(("page", "question", "metrics"), index),
        "## All metrics",
        content.COLUMNS,
        table(HEADER, _rows(_functions(), link=lambda name, function: f"metrics/{family_of(function)}.md#{name}")),
    )


def families() -> Mapping[str, Family]:
    """Return every page under docs/metrics/, by file name."""
    has_other = any(family_of(function) == OTHER for function in _functions().values())
    other = {OTHER: Family("Other metrics", "Metrics of no other page.", ())} if has_other else {}
    return {"residual_memory": MEMORY, **FAMILIES, **other, **MORE}


def family_page(name: str) -> str:
    """Return one page under docs/metrics/."""
    family = families()[name]
    back = "[All metrics](../metrics.md)"
    if family is MEMORY:
        facts = section(residual_memory.residual_memory.__name__, residual_memory.residual_memory, content.MEMORY)
        return page(family.title, back, docstring(residual_memory), facts, content.OF_VERDICTS)
    if name == RELEARNING:
        return page(family.title, back, docstring(relearning), section("relearn", relearn, content.RELEARNING))
    if name == POPULATIONS:
        return page(family.title, back, *_population_parts())
    if name == FUNCTIONS:
        return page(family.title, back, content.OF_FUNCTIONS, *_function_sections())
    functions = _functions_of(name)
    specs = {metric: registry.spec_of(function, MetricSpec) for metric, function in functions.items()}
    return page(
        family.title,
        family.summary,
        f"{back}, and {content.EXAMPLES}",
        table(HEADER, _rows(functions, link=lambda metric, function: f"#{metric}")),
        *(section(metric, function, metric_facts(function, specs[metric])) for metric, function in functions.items()),
    )


def section(name: str, function: Callable[..., object], facts: Mapping[str, str], level: int = 2) -> str:
    """Return the section of one function: its docstring, what it shows first; then facts; then settings."""
    listed = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    settings = [
        (f"`{p.name}`", f"`{type_name(p.annotation)}`", f"`{p.default!r}`")
        for p in parameters(function)
        if p.default is not inspect.Parameter.empty
    ]
    defaults = table(("setting", "type", "default"), settings) if settings else ""
    return "\n\n".join(part for part in (f"{'#' * level} {name}", docstring(function), listed, defaults) if part)


def metric_facts(function: Callable[..., object], spec: MetricSpec) -> dict[str, str]:
    """Return the list under a metric's definition."""
    facts = {
        "Reference": spec.source,
        "Reads": required_arguments(function),
        "Splits": ", ".join(spec.splits) or "once per model",
        "Direction": f"{DIRECTIONS[spec.direction]}; range {value_range(spec)}, ideal {ideal(spec)}",
        "Protocol": spec.protocol,
        "Computed": "only if named; `metrics: all` leaves it out" if spec.on_request else "",
        "Cost": spec.cost,
        "When not to trust it": spec.caution,
        "Released code": spec.released,
    }
    return {key: value for key, value in facts.items() if value}


def value_range(spec: MetricSpec) -> str:
    """Return a metric's range in words."""
    if math.isinf(spec.low) and math.isinf(spec.high):
        return "any"
    return f"{spec.low:g} and above" if math.isinf(spec.high) else f"{spec.low:g} to {spec.high:g}"


def ideal(spec: MetricSpec) -> str:
    """Return a metric's ideal value in words."""
    return "value of retrained models" if spec.ideal is None else f"{spec.ideal:g}"


def _functions() -> Mapping[str, Callable[..., object]]:
    return registry.discover(metrics.__name__, MetricSpec)


def _functions_of(name: str) -> Mapping[str, Callable[..., object]]:
    return {metric: function for metric, function in _functions().items() if family_of(function) == name}


def _rows(
    functions: Mapping[str, Callable[..., object]], *, link: Callable[[str, Callable[..., object]], str]
) -> Iterator[tuple[str, ...]]:
    for name, function in functions.items():
        spec = registry.spec_of(function, MetricSpec)
        yield (
            f"[`{name}`]({link(name, function)})",
            summary(function).replace("|", "\\|"),
            ", ".join(spec.splits) or "whole model",
            DIRECTIONS[spec.direction],
            value_range(spec),
            ideal(spec),
            spec.protocol,
        )


def _population_parts() -> Iterator[str]:
    rows = [
        (f"`{name}`", DIRECTIONS[spec.direction], value_range(spec), ideal(spec), spec.protocol)
        for name, spec in population.specs().items()
    ]
    yield docstring(population)
    yield table(("statistic", "direction", "range", "ideal", "protocol"), rows)
    yield content.OF_COMPANIONS
    yield from ("## Epsilon", docstring(epsilon), "## Likelihood ratios", docstring(likelihood))
    yield from (section(function.__name__, function, {}) for function in content.OF_POPULATIONS)


def _function_sections() -> Iterator[str]:
    for module, names in content.FUNCTIONS:
        name = module.__name__.rsplit(".", 1)[-1]
        yield from (f"## {name}", docstring(module))
        for function_name, function in content.functions(module, names).items():
            facts = {"Takes": required_arguments(function), "Returns": return_type(function)}
            yield section(f"{name}.{function_name}", function, facts, level=3)
