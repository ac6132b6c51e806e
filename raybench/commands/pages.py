"""The page of `raybench list KIND NAME` on one method, metric, data set format or forget rule, as wrapped text.

The text is that of the reference pages in docs/: docstrings, specs and measured defaults.
"""

import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from raybench import data, methods, metrics, registry
from raybench.data import forget_rules
from raybench.data.forget_rules.framework.spec import ForgetRuleSpec
from raybench.data.images import DatasetSpec
from raybench.docgen.docstrings import docstring, meaning, method_docstring
from raybench.docgen.markdown import allowed_values, default_value
from raybench.docgen.measured_defaults import measured_line
from raybench.docgen.method_page import TARGETS
from raybench.docgen.metric_pages import metric_facts
from raybench.docgen.plugin_schemas import arguments, properties
from raybench.methods.framework.defaults import Relative, Training
from raybench.methods.framework.spec import MethodSpec, hyperparameters, shipped_ranges
from raybench.metrics.framework.spec import MetricSpec

INDENT = "  "
SHORT_NAMES = {  # of the papers whose code raybench reproduces, by what their references contain
    "uuef": "2503.06991",
    "conformal": "2501.19403",
    "mufac": "2311.02240",
    "mucac": "2311.02240",
    "eth": "Kraehenmann",
}
END_OF_DOCUMENT = "...\n"  # PyYAML writes it after a bare value
REPRODUCES = {
    "released": "reproduces the released code, bugs included",
    "numbers": "sets the paper's numbers; the algorithm is the one above",
}
EXAMPLE_OPTIONS: Mapping[str, Any] = {  # values of the options of rules without which an example is incomplete
    "count": 100,
    "fraction": 0.1,
    "classes": [3],
    "superclasses": ["fish"],
    "ids": [12, 345],
    "ranges": [[190, 1250]],
    "scores": "scores.csv",
}
ONE_OF = ("count", "fraction", "classes", "ids")  # of these a rule takes one; the first that it has is shown


def short_names(source: str) -> tuple[str, ...]:
    """Return the short names (uuef, conformal, ...) of the papers that a reference cites."""
    return tuple(name for name, part in SHORT_NAMES.items() if part in source)


def method_page(name: str, width: int) -> Iterator[str]:
    """Yield the lines of the page of one method, built in or `package.module.function`."""
    function = methods.get(name)
    spec = registry.spec_of(function, MethodSpec)
    paragraphs, meanings = method_docstring(function)
    yield from _title(name, paragraphs[0], width)
    facts = {
        "paper": spec.source,
        "formula": spec.formula,
        "cost": spec.passes,
        "labels": ", ".join(TARGETS[kind] for kind in spec.targets),
        "needs": spec.needs or "nothing but forget and retain samples",
    }
    yield from _facts(facts, width)
    for paragraph in paragraphs[1:]:
        yield from ("", *_wrapped(paragraph, width))
    for label, text in (("Limits", spec.limits), ("Defects of released code", spec.released)):
        yield from (("", *_wrapped(f"{label}: {text}", width)) if text else ())
    if measured := measured_line(name).replace("**", ""):
        meaning_of_gap = "A gap is the distance to retrained models in points: of the original -> of the method."
        yield from ("", *_wrapped(f"{measured} {meaning_of_gap}", width))
    fields = hyperparameters(function).model_fields
    rows = []
    for key, fragment in properties(hyperparameters(function)).items():
        default = fields[key].default
        shown = repr(default) if isinstance(default, Relative) else default_value(fragment)
        rows.append((key, shown, _plain(allowed_values(fragment)), meaning(key, fragment, meanings)))
        if key in spec.search:
            ranges = ", ".join(f"{kind} {list(values)}" for kind, values in spec.search[key].items())
            rows.append(("", "", "", f"search range: {ranges}"))
    yield from ("", "Hyperparameters: default, allowed values, meaning", *_options(rows, width))
    own = {**spec.recipe_settings, **spec.settings}
    shared = f"It sets {_assignments(own)}. " if own else ""
    text = f"Settings of every method (batch_size, optimizer, schedule, ...): raybench list settings. {shared}"
    yield from ("", *_wrapped(text, width))
    if spec.presets:
        yield from ("", "Presets")
        for preset, values in spec.presets.items():
            text = f"{preset} ({REPRODUCES[spec.reproduces[preset]]}): {_assignments(values)}"
            yield from _wrapped(text, width, INDENT, INDENT * 3)
    yield from ("", "Example", *_yaml({"methods": {name: method_example(name)}}, width))
    if spec.search:
        yield from _wrapped(
            f"The ranges are those shipped with it, for train.lr 0.1 and 30 epochs; `{name}: search` takes them for "
            "any recipe.",
            width,
        )


def method_example(name: str) -> dict[str, Any]:
    """Return an entry of `methods:` for the default recipe: the shipped ranges, or the defaults."""
    function = methods.get(name)
    ranges = shipped_ranges(function, Training())
    return {key: value for key, value in ranges.items() if key in registry.spec_of(function, MethodSpec).search}


def metric_page(name: str, width: int) -> Iterator[str]:
    """Yield the lines of the page of one metric."""
    function = registry.find("metric", name, metrics.__name__, MetricSpec)
    spec = registry.spec_of(function, MetricSpec)
    first, *more = docstring(function).split("\n\n")
    yield from _title(name, first, width)
    yield from _facts({key.lower(): _plain(value) for key, value in metric_facts(function, spec).items()}, width)
    for paragraph in more:
        yield from ("", *(_wrapped(paragraph, width) if not paragraph.startswith(" ") else paragraph.splitlines()))
    settings = {p.name: p.default for p in inspect.signature(function).parameters.values() if p.default is not p.empty}
    if settings:
        yield from ("", "Settings and their defaults", *(f"{INDENT}{key}: {value}" for key, value in settings.items()))
    yield from ("", "Example", *_yaml({"evaluate": {"metrics": {name: settings}}}, width))


def dataset_page(name: str, width: int) -> Iterator[str]:
    """Yield the lines of the page of one data set format."""
    function = registry.find("dataset", name, data.FORMATS, DatasetSpec)
    spec = registry.spec_of(function, DatasetSpec)
    yield from _title(name, docstring(function).split("\n\n")[0], width)
    yield from _facts({"source": spec.source, "files": spec.needs or "none; nothing is downloaded"}, width)
    about = docstring(inspect.getmodule(function)).split("\n\n")[1:]
    for paragraph in [*about, *docstring(function).split("\n\n")[1:]]:
        yield from ("", *_paragraph(paragraph, width))
    options = arguments(function, leave_out=("download",))
    yield from _arguments("Options (data.options): default, allowed values", options, width)
    root = {"root": f"data/{name}"} if spec.needs else {}
    required = {key: _placeholder(key) for key, fragment in options.items() if "default" not in fragment}
    example = {"dataset": name, **root, **({"options": required} if required else {})}
    yield from ("", "Example", *_yaml({"data": example}, width))


def rule_page(name: str, width: int) -> Iterator[str]:
    """Yield the lines of the page of one forget rule."""
    function = registry.find("forget rule", name, forget_rules.PACKAGE, ForgetRuleSpec)
    spec = registry.spec_of(function, ForgetRuleSpec)
    first, *more = docstring(function).split("\n\n")
    yield from _title(name, first, width)
    facts = {
        "source": spec.source,
        "identities": "forgotten as a whole" if spec.whole_groups else "not considered",
        "tuning": f"on other {spec.counterpart} of the same number (sweep.tuning_request)",
    }
    yield from _facts(facts, width)
    for paragraph in more:
        yield from ("", *_paragraph(paragraph, width))
    options = arguments(function) or {key: {} for key in list(inspect.signature(function).parameters)[1:]}
    yield from _arguments("Options: default, allowed values", options, width)
    yield from ("", "Example", *_yaml({"forget": {"rule": name, **rule_example(options)}}, width))


def rule_example(options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options that an example of a rule sets: all required ones, and one of the alternatives."""
    required = [key for key, fragment in options.items() if "default" not in fragment]
    choice = [key for key in ONE_OF if key in options]
    return {key: _placeholder(key) for key in (*required, *(choice[:1] if not set(choice) & set(required) else []))}


def _placeholder(key: str) -> Any:
    return EXAMPLE_OPTIONS.get(key, f"{key}.csv")


def _title(name: str, text: str, width: int) -> Iterator[str]:
    yield from _wrapped(f"{name}: {' '.join(text.split())}", width)
    yield ""


def _facts(facts: Mapping[str, str], width: int) -> Iterator[str]:
    """Yield `key   value` with the values aligned."""
    column = max(len(key) for key, value in facts.items() if value) + 3
    for key, value in facts.items():
        if value:
            yield from _wrapped(f"{key:<{column}}{value}", width, "", " " * column)


def _arguments(title: str, options: Mapping[str, Mapping[str, Any]], width: int) -> Iterator[str]:
    rows = [(key, default_value(fragment), _plain(allowed_values(fragment)), "") for key, fragment in options.items()]
    if rows:
        yield from ("", title, *_options(rows, width))


def _options(rows: Sequence[tuple[str, str, str, str]], width: int) -> Iterator[str]:
    """Yield rows of name, default, allowed values and meaning; the meaning is on lines of its own."""
    if not rows:
        yield f"{INDENT}none"
    columns = [max((len(row[i]) for row in rows), default=0) + 2 for i in (0, 1)]
    for name, default, allowed, about in rows:
        if name:
            head = f"{INDENT}{name:<{columns[0]}}{default:<{columns[1]}}"
            yield from _wrapped(head + allowed, width, "", " " * len(head))
        yield from _wrapped(about, width, INDENT * 3, INDENT * 3)


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "the defaults"


def _yaml(content: Mapping[str, Any], width: int, depth: int = 1) -> Iterator[str]:
    """Yield YAML with one line per key where the values of a key fit into its line, and nested below it otherwise."""
    for key, value in content.items():
        text = "" if value == {} else yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
        line = f"{INDENT * depth}{key}: {text.removesuffix(END_OF_DOCUMENT).strip()}".rstrip()
        if depth > 1 and (len(line) <= width or not isinstance(value, dict)):
            yield line
        else:
            yield f"{INDENT * depth}{key}:"
            yield from _yaml(value, width, depth + 1)


def _paragraph(text: str, width: int) -> Iterable[str]:
    """Return the lines of a paragraph: wrapped, or as they are where they are indented (trees of folders, CSV)."""
    has_layout = any(line.startswith((" ", "-", "|")) for line in text.splitlines())
    return text.splitlines() if has_layout else _wrapped(text, width)


def _wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(text: str) -> str:
    """Return Markdown as plain text."""
    return text.replace("`", "")
