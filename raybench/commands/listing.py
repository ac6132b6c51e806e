"""`raybench list`: print the names an experiment file can use, with hyperparameters, references and summaries."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from rich.console import Console

from raybench import data, methods, models, paper_tables, registry
from raybench.data import forget_rules
from raybench.data.forget_rules.framework.spec import ForgetRuleSpec
from raybench.data.images import DatasetSpec
from raybench.methods.framework.spec import MethodSpec, Settings, hyperparameters
from raybench.scoring import metric_rows

What = Literal["methods", "metrics", "datasets", "models", "rules", "experiments", "tables"]


def print_list(what: What, console: Console) -> None:
    """Print one list."""
    for line in LISTS[what]():
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _first_paragraph(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")


def _methods() -> Iterator[str]:
    for name in methods.names():
        function = methods.get(name)
        spec = registry.spec_of(function, MethodSpec)
        yield f"{name}   {spec.source}"
        yield f"    {_first_paragraph(function)}"
        for key, field in hyperparameters(function).model_fields.items():
            yield f"    {key} = {field.default!r}   ({_type(field.annotation, field.metadata)})"
        if spec.search:
            yield f"    search ranges (`search`): {', '.join(spec.search)}"
        if spec.presets:
            yield f"    presets: {', '.join(spec.presets)}"
    yield "Settings that every method accepts:"
    for key, field in Settings.model_fields.items():
        yield f"    {key} = {field.default!r}   ({_type(field.annotation, field.metadata)})"


def _type(annotation: Any, metadata: list[Any]) -> str:
    bounds = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = " ".join(f"{sign} {getattr(m, key)}" for m in metadata for key, sign in bounds.items() if hasattr(m, key))
    if choices := [c for c in get_args(annotation) if isinstance(c, str)]:
        return " | ".join(choices)
    name = getattr(annotation, "__name__", str(annotation))
    return f"{name} {limits}".strip()


def _metrics() -> Iterator[str]:
    for name in metric_rows.metric_names():
        function = metric_rows.get_metric(name)
        spec = metric_rows.metric_spec(function)
        scope = f"on {', '.join(spec.splits)}" if spec.splits else "per model"
        ideal = "" if spec.ideal is None else f", ideal {spec.ideal:g}"
        yield f"{name}   {scope}; {spec.direction} (from {spec.low:g} to {spec.high:g}{ideal}); {spec.source}"
        yield f"    {_first_paragraph(function)}"


def _datasets() -> Iterator[str]:
    for name in data.names():
        function = registry.find("dataset", name, data.FORMATS, DatasetSpec)
        spec = registry.spec_of(function, DatasetSpec)
        yield f"{name}   {spec.source}"
        yield f"    {_first_paragraph(function)}"
        yield f"    needs {spec.needs}" if spec.needs else "    needs no files"
        options = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        texts = [f"{p.name} = {p.default!r}" for p in options if p.name != "download"]
        if texts:
            yield f"    data.options: {', '.join(texts)}"


def _models() -> Iterator[str]:
    yield from models.names()
    yield "timm:<name>   a model of the library timm (pip install 'raybench[timm]')"


def _rules() -> Iterator[str]:
    for name in forget_rules.names():
        function = registry.find("forget rule", name, forget_rules.PACKAGE, ForgetRuleSpec)
        options = list(inspect.signature(function).parameters.values())[1:]
        texts = [p.name if p.default is p.empty else f"{p.name} = {p.default!r}" for p in options]
        yield f"{name}   {', '.join(texts)}"
        yield f"    {_first_paragraph(function)}"


def _experiments() -> Iterator[str]:
    folder = Path("experiments")
    paths = sorted(folder.rglob("*.yaml")) if folder.is_dir() else []
    if not paths:
        yield "The current folder has no experiments/ folder. Change to a checkout of raybench, or write your own file."
    for path in paths:
        text = path.read_text(encoding="utf-8")
        comments = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
        header = " ".join(line.lstrip("# ").strip() for line in comments)
        if "name" in (yaml.safe_load(text) or {}):
            yield f"{path}\n    {header}"


def _tables() -> Iterator[str]:
    for name in paper_tables.tables():
        frame = paper_tables.load(name)
        first = frame[frame["setting"] == frame["setting"].mode()[0]].iloc[0]
        measured = frame[
            (frame["metric"] != paper_tables.DERIVED) & ~frame["metric"].str.endswith(paper_tables.COMPANIONS)
        ]
        titles = (measured["metric"] + " " + measured["split"]).str.strip().drop_duplicates()
        yield f"{name}   {paper_tables.SOURCES[first['source']]}; {first['dataset']}, {first['setting']}"
        yield f"    {len(frame)} reported numbers: {', '.join(titles) or 'none that raybench computes'}"
        inconsistent = frame.loc[~frame["consistent"], "method_reported"].drop_duplicates()
        yield f"    rows known to be inconsistent: {', '.join(inconsistent) or 'none'}"


LISTS: dict[What, Callable[[], Iterator[str]]] = {
    "methods": _methods,
    "metrics": _metrics,
    "datasets": _datasets,
    "models": _models,
    "rules": _rules,
    "experiments": _experiments,
    "tables": _tables,
}
