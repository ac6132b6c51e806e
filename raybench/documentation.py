"""Write the reference pages from what the code says about itself: docstrings, signatures and the specs of decorators.

    python -m raybench.documentation [docs]

A page that is not what this writes is out of date, and a test says so.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raybench import metrics, registry
from raybench.metrics import epsilon, likelihood, population
from raybench.metrics.spec import MetricSpec

GENERATED = "<!-- written by `python -m raybench.documentation`; edit the docstrings instead -->"
DIRECTIONS = {"match": "match retrained", "raise": "higher is better", "lower": "lower is better"}
OF_POPULATIONS = (
    population.population_metrics,
    epsilon.per_sample,
    epsilon.gaussian,
    epsilon.certified_lower_bound,
    epsilon.ceiling,
    epsilon.forgetting_quality,
    epsilon.competition_score,
    epsilon.klom,
    likelihood.lira,
    likelihood.u_lira,
    likelihood.rmia,
)


def metrics_page() -> str:
    """Return docs/metrics.md: every metric of the evaluation, then what is measured on whole populations of models."""
    found = registry.discover(metrics.__name__, MetricSpec)
    specs = {name: function.raybench_spec for name, function in found.items()}  # type: ignore[attr-defined]
    parts = [
        "# Metrics",
        GENERATED,
        "The evaluation computes every metric that the experiment asks for, on each split named here, with its gap to "
        "the retrained models. Where a metric is not defined on an input, its reason stands in the table instead of a "
        "number. `released` is what a source's code computes, faults included; `corrected` is what its text defines.",
        overview(specs),
        *(entry(name, function, metric_facts(function, specs[name])) for name, function in found.items()),
        "# Populations",
        docstring(population),
        overview(population.specs()),
        "`_null`, `_excess` and `_control` complete each of these names but the ceilings.",
        "## Epsilon",
        docstring(epsilon),
        "## Likelihood ratios",
        docstring(likelihood),
        *(entry(function.__name__, function, {}) for function in OF_POPULATIONS),
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
    needs = [p.name for p in parameters(function) if p.default is inspect.Parameter.empty]
    return {
        "Source": spec.source,
        "Reads": ", ".join(f"`{name}`" for name in needs),
        "Splits": ", ".join(spec.splits) or "once per model",
        "Direction": f"{DIRECTIONS[spec.direction]}; range {span(spec)}, ideal {ideal(spec)}",
        "Protocol": spec.protocol,
    }


def entry(name: str, function: Callable[..., Any], facts: Mapping[str, str]) -> str:
    """Return the section of one function: its docstring, the facts, a table of its settings and their defaults."""
    listed = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    settings = [
        (f"`{p.name}`", f"`{annotation(p)}`", f"`{p.default!r}`")
        for p in parameters(function)
        if p.default is not inspect.Parameter.empty
    ]
    defaults = table(("setting", "type", "default"), settings) if settings else ""
    return "\n\n".join(part for part in (f"## {name}", docstring(function), listed, defaults) if part)


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function."""
    return list(inspect.signature(function).parameters.values())


def annotation(parameter: inspect.Parameter) -> str:
    """Return a parameter's type as written, without module names; a `|` would end a table cell."""
    written = inspect.formatannotation(parameter.annotation)
    text = re.sub(r"\b(raybench|typing|collections|numpy|torch)(\.\w+)*\.(?=\w)", "", written)
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
    (target / "metrics.md").write_text(metrics_page(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])
