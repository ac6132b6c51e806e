"""Write docs/methods.md from the methods' docstrings, signatures and presets: `python -m raybench.methods.docs`."""

import inspect
import re
import sys
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from raybench import methods
from raybench.methods.spec import MethodSpec, Settings, hyperparameters, spec_of

COMMON = {"lr": "learning rate", "epochs": "passes, as the method counts them"}
TARGETS = {"single_label": "single-label", "multi_label": "multi-label"}
RANGES = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}

HEAD = """# Unlearning methods

Generated from the docstrings by `python -m raybench.methods.docs`; do not edit.

Every method runs in an experiment (`methods: {{scrub: {{lr: {{loguniform: [1.0e-5, 1.0e-2]}}}}}}`) and alone
(`raybench.unlearn(model, method="scrub", forget=..., retain=..., lr=1e-3)`). `preset: <name>` takes a source's released
settings, of which single values can be overridden. "Released" says where a source's code differs from the method as it
is here by default, and how to get its form.

{count} methods: {names}

## Settings that every method shares

A method may have its own default for some of them (given there).

{settings}
"""


def main(path: Path = Path("docs/methods.md")) -> None:
    """Write the page."""
    path.write_text(page(), encoding="ascii")
    sys.stdout.write(f"wrote {path}: {len(methods.names())} methods\n")


def page() -> str:
    """Return the whole page as Markdown."""
    names = methods.names()
    links = ", ".join(f"[{name}](#{name})" for name in names)
    settings = _table(
        [(name, _default(f), _allowed(f), f.description or "") for name, f in Settings.model_fields.items()]
    )
    head = HEAD.format(count=len(names), names=links, settings=settings)
    return "\n".join([head, *(section(name) for name in names)]).rstrip() + "\n"


def section(name: str) -> str:
    """Return one method's part of the page."""
    function = methods.get(name)
    spec = spec_of(function)
    summary, text, released, meanings = read_docstring(function)
    facts = [
        f"- source: {spec.source}",
        f"- formula: {spec.formula}",
        f"- passes: {spec.passes}",
        f"- targets: {', '.join(TARGETS[kind] for kind in spec.targets)}",
    ]
    facts += [f"- needs: {spec.needs}"] if spec.needs else []
    fields = hyperparameters(function).model_fields
    rows = [(key, _default(f), _allowed(f), meanings.get(key, COMMON.get(key, ""))) for key, f in fields.items()]
    parts = [f"## {name}", summary, "\n".join(facts), *text]
    parts += [f"**Released:** {released}"] if released else []
    parts += [_table(rows)] if rows else []
    parts += [_presets(spec)] if spec.settings or spec.presets else []
    return "\n\n".join(parts) + "\n"


def read_docstring(function: Any) -> tuple[str, list[str], str, dict[str, str]]:
    """Return the summary, further paragraphs, the `Released:` paragraph and the meaning of every argument."""
    body, _, arguments = (inspect.getdoc(function) or "").partition("Args:\n")
    paragraphs = [" ".join(part.split()) for part in body.split("\n\n") if part.strip()]
    released = next((part.removeprefix("Released: ") for part in paragraphs if part.startswith("Released: ")), "")
    text = [part for part in paragraphs[1:] if not part.startswith("Released: ")]
    meanings: dict[str, str] = {}
    for names, meaning in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE):
        for name in names.split(", "):
            meanings[name] = " ".join(meaning.split())
    return paragraphs[0], text, released, meanings


def _presets(spec: MethodSpec) -> str:
    lines = []
    if spec.settings:
        lines.append(f"- own defaults of shared settings: {_pairs(spec.settings)}")
    lines += [f"- preset `{name}`: {_pairs(values)}" for name, values in spec.presets.items()]
    return "\n".join(lines)


def _pairs(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _default(info: FieldInfo) -> str:
    if isinstance(info.default, float) and info.default != round(info.default, 6):
        return f"{info.default:.6g}"
    return str(info.default)


def _allowed(info: FieldInfo) -> str:
    parts = _flat(info.annotation)
    optional = " or None" if type(None) in parts else ""
    choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    if choices:
        return ", ".join(str(choice) for choice in choices) + optional
    base = next(part for part in parts if part is not type(None))
    metadata = [*info.metadata, *(getattr(part, "metadata", None) or [] for part in parts)]
    limits = [
        f"{sign} {getattr(part, key):g}"
        for part in _flat_list(metadata)
        for key, sign in RANGES.items()
        if getattr(part, key, None) is not None
    ]
    return " ".join([str(get_origin(base).__name__ if get_origin(base) else base.__name__), *limits]) + optional


def _flat(annotation: Any) -> list[Any]:
    """Return the parts of a union, each stripped of `Annotated`, with what it was annotated by."""
    if get_origin(annotation) in (Union, UnionType):
        return [inner for part in get_args(annotation) for inner in _flat(part)]
    if get_origin(annotation) is Annotated:
        first, *rest = get_args(annotation)
        return [*_flat(first), *rest]
    return [annotation]


def _flat_list(items: list[Any]) -> list[Any]:
    return [inner for item in items for inner in (item if isinstance(item, list) else [item])]


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    lines = ["| name | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *(f"| `{a}` | {b} | {c} | {d} |" for a, b, c, d in rows)])


if __name__ == "__main__":
    main()
