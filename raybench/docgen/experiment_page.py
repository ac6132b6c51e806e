"""docs/experiment.md: every key of the experiment file, from the descriptions of the fields in `raybench.config`."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from raybench.config.schema import Experiment
from raybench.docgen import experiment_content as content
from raybench.docgen.docstrings import docstring
from raybench.docgen.markdown import allowed_values, default_value, page, table
from raybench.docgen.plugin_schemas import Schema, names_of

HEADER = ("key", "type and allowed values", "default", "meaning")
BUILT_IN = ("tables",)  # names that cannot be user-defined
LISTED = ("objectives",)  # names that no command lists, and that the table shows


def experiment_page() -> str:
    """Return docs/experiment.md."""
    documented: dict[type[BaseModel], str] = {}
    sections = [part for name, field in Experiment.model_fields.items() for part in _section(name, field, documented)]
    top = [_row(name, fragment) for name, fragment in fragments(Experiment).items()]
    extra = [
        (
            "`extends`",
            "path of a file",
            "none",
            "Experiment file that this one is merged over; see [extends](#extends).",
        ),
        ("`smoke`", "mapping", "none", "Changes for a run of a minute; see [smoke](#smoke)."),
    ]
    return page(
        "The experiment file",
        *content.INTRODUCTION,
        fenced(content.MINIMAL),
        content.EDITORS,
        content.RULES,
        content.EXTENDS,
        content.SET,
        content.SPACES,
        "## Keys",
        table(HEADER, [*top, *extra]),
        *sections,
        content.SMOKE,
        content.LIMITS,
    )


def fenced(example: str) -> str:
    """Return YAML as a code block."""
    return f"```yaml\n{example}```"


def _section(name: str, field: FieldInfo, documented: dict[type[BaseModel], str]) -> Iterator[str]:
    models = list(models_in(field.annotation))
    if not models and name not in content.EXAMPLES:
        return
    yield f"## {name}"
    yield _description(models[0]) if models else str(field.description)
    if name in content.EXAMPLES:
        yield fenced(content.EXAMPLES[name])
    if name in content.AFTER:
        yield content.AFTER[name]
    if models:
        yield from _tables(name, models[0], documented)
    else:
        yield table(HEADER, content.ENTRY_KEYS)


def _tables(key: str, model: type[BaseModel], documented: dict[type[BaseModel], str]) -> Iterator[str]:
    """Yield the table of a section, then heading, description and tables of every section below it.

    `documented` holds the models that the page has tables of, and where; it grows.
    """
    base = next((base for base in model.__mro__ if base in documented), None)
    inherited = set(base.model_fields) if base is not None else set()
    if base is not None:
        where = documented[base]
        yield f"Takes the keys {', '.join(f'`{name}`' for name in base.model_fields)} of [{where}](#{where}), and:"
    rows = [_row(name, fragment) for name, fragment in fragments(model).items() if name not in inherited]
    yield table(HEADER, rows)
    documented |= {base: key for base in model.__mro__ if _has_fields(base) and base not in documented}
    for name, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            if inner in documented:
                continue
            path = f"{key}.{name}.NAME" if get_origin(field.annotation) is dict else f"{key}.{name}"
            yield f"### {path}"
            yield _description(inner)
            yield from _tables(path, inner, documented)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation holds, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def _has_fields(base: type) -> bool:
    return issubclass(base, BaseModel) and bool(base.model_fields)


def fragments(model: type[BaseModel]) -> dict[str, Schema]:
    """Return the JSON schema of every field of a section, by key."""
    fragments: dict[str, Schema] = model.model_json_schema()["properties"]
    return fragments


def _row(name: str, fragment: Schema) -> tuple[str, str, str, str]:
    default = default_value(fragment)
    is_section = "$ref" in fragment or (isinstance(fragment.get("default"), dict) and fragment["default"])
    return (
        f"`{name}`",
        allowed(fragment),
        default if default == "required" else "see below" if is_section else f"`{default}`",
        fragment.get("description", "").replace("|", "\\|"),
    )


def allowed(fragment: Schema) -> str:
    """Return what a field accepts, in words."""
    kind = fragment.get("names")
    if kind in LISTED:
        return ", ".join(f"`{name}`" for name in names_of(kind))
    if kind == "metrics":
        return f"`all`, names or mapping; names from `raybench list {kind}`"
    user_defined = "" if kind in BUILT_IN else ", or `package.module.function`"
    return f"name from `raybench list {kind}`{user_defined}" if kind else allowed_values(fragment)


def _description(model: type[BaseModel]) -> str:
    return " ".join(docstring(model).split("\n\n")[0].split())
