"""`raybench list`: the names an experiment file can use, and one page on each of them.

`list methods` prints one entry per method; `--needs`, `--source` and `--find` filter; `list methods NAME` prints the
page of one method, and of a part of a name the entries whose names contain it.
"""

import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Console

from raybench import data, methods, models, paper_tables, registry
from raybench.commands import pages
from raybench.data import forget_rules
from raybench.data.forget_rules.framework.spec import ForgetRuleSpec
from raybench.data.images import DatasetSpec
from raybench.docgen.docstrings import docstring
from raybench.docgen.method_page import TARGETS
from raybench.errors import UserError, unknown
from raybench.methods.framework.spec import MethodSpec, Settings
from raybench.scoring import metric_rows

What = Literal["methods", "settings", "metrics", "datasets", "models", "rules", "experiments", "tables"]
NONE = "none"  # --needs none: without requirements
NUM_RETRAINED = "retrained models (train.retrained_seeds)"
READS = {
    "retrained": NUM_RETRAINED,
    "shadow": NUM_RETRAINED,
    "original": "the original",
    "untrained": "a model at random weights",
    "groups": "groups (identities)",
    "calibration": "calibration samples",
    "class_values": "class names that are numbers",
    "weights": "weights",
}


@dataclass(frozen=True)
class Entry:
    """One name of a list: what it is, where it comes from, and what it needs; `keywords` only serve filters."""

    name: str
    summary: str = ""
    source: str = ""
    needs: str = ""
    keywords: tuple[str, ...] = ()


Filter = Callable[[Entry, str], bool]


def print_list(
    what: What,
    console: Console,
    name: str | None = None,
    *,
    needs: str | None = None,
    source: str | None = None,
    find: str | None = None,
) -> None:
    """Print the entries of a list that pass the filters, or the page of one name; raise UserError if there is none."""
    page = PAGES.get(what)
    entries = list(LISTS[what]())
    names = [entry.name for entry in entries]
    if name is not None and page is not None and (name in names or _is_own(what, name)):
        _print(console, page(name, console.width))
        return
    chosen = [entry for entry in entries if name is None or name.lower() in entry.name.lower()]
    if not chosen:
        raise unknown(what.removesuffix("s").replace("rule", "forget rule"), name, names)
    filters: tuple[tuple[str, str | None, Filter], ...] = (
        ("--needs", needs, _needs),
        ("--source", source, _from_source),
        ("--find", find, _contains),
    )
    for option, value, kept in filters:
        if value is None:
            continue
        before = chosen
        chosen = [entry for entry in chosen if kept(entry, value.lower())]
        if not chosen:
            raise UserError(f"no {what} match {option} {value!r}{_known(option, before)}")
    for entry in chosen:
        _print(console, _entry_lines(entry, console.width))
    if page is not None and len(chosen) > 1:
        _print(console, ["", f"{len(chosen)} {what}. `raybench list {what} NAME` prints the page of one."])


def _is_own(what: What, name: str) -> bool:
    return what in ("methods", "metrics", "datasets", "rules") and "." in name


def _print(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _entry_lines(entry: Entry, width: int) -> Iterator[str]:
    """Yield the name with its source, then the summary and the needs, wrapped to the terminal."""
    yield f"{entry.name}   {entry.source}" if entry.source else entry.name
    for text in (entry.summary, f"needs {entry.needs}" if entry.needs else ""):
        yield from textwrap.wrap(text, max(width, 40), initial_indent="    ", subsequent_indent="    ")


def _needs(entry: Entry, text: str) -> bool:
    return not entry.needs if text == NONE else text in entry.needs.lower()


def _from_source(entry: Entry, text: str) -> bool:
    """Return whether an entry comes from a paper: part of its reference, of a preset, or a short name such as uuef."""
    return text in entry.source.lower() or any(text in word.lower() for word in entry.keywords)


def _contains(entry: Entry, text: str) -> bool:
    return text in " ".join((entry.name, entry.summary, entry.source, entry.needs, *entry.keywords)).lower()


def _known(option: str, entries: Iterable[Entry]) -> str:
    """Return what a filter could have matched."""
    if option != "--needs":
        return ""
    known = sorted({entry.needs for entry in entries if entry.needs})
    return f" (they need: {'; '.join(known)}; or {NONE})" if known else " (they need nothing)"


def first_paragraph(function: Callable[..., Any]) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join(docstring(function).split("\n\n")[0].split())


def _methods() -> Iterator[Entry]:
    for name in methods.names():
        function = methods.get(name)
        spec = registry.spec_of(function, MethodSpec)
        labels = "" if len(spec.targets) > 1 else f"{TARGETS[spec.targets[0]]} labels"
        needs = "; ".join(part for part in (spec.needs, labels if "single-label" not in spec.needs else "") if part)
        yield Entry(name, first_paragraph(function), spec.source, needs, tuple(spec.presets))


def _settings() -> Iterator[Entry]:
    for key, field in Settings.model_fields.items():
        yield Entry(f"{key} = {field.default!r}", str(field.description))


def _metrics() -> Iterator[Entry]:
    for name in metric_rows.metric_names():
        function = metric_rows.get_metric(name)
        spec = metric_rows.metric_spec(function)
        needs = [text for key, text in READS.items() if key in metric_rows.references_read(name)]
        arguments = list(inspect.signature(function).parameters)
        needs += [text for key, text in READS.items() if any(key in argument for argument in arguments)]
        if spec.splits == ("downstream",):
            needs.append("downstream sets (evaluate.downstream)")
        yield Entry(
            name,
            first_paragraph(function),
            spec.source,
            ", ".join(dict.fromkeys(needs)),
            (spec.protocol, *spec.splits, *pages.short_names(spec.source)),
        )


def _datasets() -> Iterator[Entry]:
    for name in data.names():
        function = registry.find("dataset", name, data.FORMATS, DatasetSpec)
        spec = registry.spec_of(function, DatasetSpec)
        yield Entry(name, first_paragraph(function), spec.source, spec.needs, pages.short_names(spec.source))


def _models() -> Iterator[Entry]:
    yield from map(Entry, models.names())
    yield Entry("timm:<name>", "a model of the library timm (pip install 'raybench[timm]')")


def _rules() -> Iterator[Entry]:
    for name in forget_rules.names():
        function = registry.find("forget rule", name, forget_rules.PACKAGE, ForgetRuleSpec)
        spec = registry.spec_of(function, ForgetRuleSpec)
        options = tuple(inspect.signature(function).parameters)[1:]
        summary = f"{first_paragraph(function)} Options: {', '.join(options)}."
        needs = "groups (identities)" if spec.whole_groups or spec.counterpart == "groups" else ""
        yield Entry(name, summary, spec.source, needs, (*options, *pages.short_names(spec.source)))


def _experiments() -> Iterator[Entry]:
    folder = Path("experiments")
    paths = sorted(folder.rglob("*.yaml")) if folder.is_dir() else []
    if not paths:
        yield Entry(
            "The current folder has no experiments/ folder. Change to a checkout of raybench, or write your own file "
            "with `raybench init`."
        )
    for path in paths:
        text = path.read_text(encoding="utf-8")
        comments = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
        header = " ".join(line.lstrip("# ").strip() for line in comments)
        if "name" in (yaml.safe_load(text) or {}):
            yield Entry(str(path), header)


def _tables() -> Iterator[Entry]:
    for name in paper_tables.tables():
        frame = paper_tables.load(name)
        first = frame[frame["setting"] == frame["setting"].mode()[0]].iloc[0]
        measured = frame[
            (frame["metric"] != paper_tables.DERIVED) & ~frame["metric"].str.endswith(paper_tables.COMPANIONS)
        ]
        titles = (measured["metric"] + " " + measured["split"]).str.strip().drop_duplicates()
        inconsistent = frame.loc[~frame["consistent"], "method_reported"].drop_duplicates()
        summary = (
            f"{len(frame)} reported numbers: {', '.join(titles) or 'none that raybench computes'}; rows known to be "
            f"inconsistent: {', '.join(inconsistent) or 'none'}"
        )
        source = f"{paper_tables.SOURCES[first['source']]}; {first['dataset']}, {first['setting']}"
        yield Entry(name, summary, source, keywords=(first["source"],))


LISTS: dict[What, Callable[[], Iterable[Entry]]] = {
    "methods": _methods,
    "settings": _settings,
    "metrics": _metrics,
    "datasets": _datasets,
    "models": _models,
    "rules": _rules,
    "experiments": _experiments,
    "tables": _tables,
}
PAGES: dict[What, Callable[[str, int], Iterator[str]]] = {
    "methods": pages.method_page,
    "metrics": pages.metric_page,
    "datasets": pages.dataset_page,
    "rules": pages.rule_page,
}
