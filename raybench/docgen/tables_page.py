"""docs/tables.md: how to read the tables of a run, and every column of every table."""

import re
from collections.abc import Iterable, Iterator

import pyarrow as pa

from raybench.docgen import markdown
from raybench.docgen.tables_content import EXAMPLES, INTRODUCTION, JOINS
from raybench.storage import tables
from raybench.storage.columns import facts
from raybench.storage.report_schemas import LEADERBOARD_METRICS

HEADER = ("column", "type", "unit", "values", "meaning", "good value")
# columns that repeat for each metric of the leaderboard, and for each protocol of the reported results
REPEATED = {"leaderboard": ("metric", LEADERBOARD_METRICS), "reported": ("protocol", ("released", "corrected"))}
TYPES = {
    "string": "text",
    "int64": "integer",
    "double": "number",
    "float": "number",
    "bool": "true or false",
    "int32": "integer",
    "int8": "integer",
}


def tables_page() -> str:
    """Return the page."""
    schemas = {**tables.REPORT_SCHEMAS, **tables.SCHEMAS}
    links = markdown.table(("table", "rows"), ((f"[{name}](#{name})", tables.ROWS[name]) for name in schemas))
    return markdown.page(
        "Reading the tables",
        *INTRODUCTION,
        "## Tables",
        links,
        EXAMPLES,
        JOINS,
        *(_section(name, schema) for name, schema in schemas.items()),
    )


def _section(name: str, schema: pa.Schema) -> str:
    rows = (_row(label, field) for label, field in _fields(name, schema))
    return f"## {name}\n\n{_sentence(tables.ROWS[name])}\n\n{markdown.table(HEADER, rows)}" + _note(name)


def _fields(name: str, schema: pa.Schema) -> Iterator[tuple[str, pa.Field]]:
    """Yield the fields with their names as shown: columns that repeat come last and once, as `<metric>_gap`."""
    word, prefixes = REPEATED.get(name, ("", ()))
    repeated: dict[str, pa.Field] = {}
    for field in schema:
        prefix = next((p for p in prefixes if field.name.startswith(f"{p}_") and field.name not in prefixes), None)
        if prefix is None:
            yield field.name, field
        else:
            repeated.setdefault(f"<{word}>{field.name.removeprefix(prefix)}", field)
    yield from repeated.items()


def _row(label: str, field: pa.Field) -> tuple[str, ...]:
    fact = facts(field)
    unit = "of the metric" if label.startswith("<metric>") and fact["unit"] else fact["unit"]
    return (f"`{label}`", _type(field.type), unit, fact["values"], fact["description"], fact["direction"])


def _type(kind: pa.DataType) -> str:
    return f"list of {_type(kind.value_type)}" if pa.types.is_list(kind) else TYPES[str(kind)]


def _note(name: str) -> str:
    if name in ("models", "trials"):
        return (
            "\n\nIn addition, one column `hp_<name>` per hyperparameter that occurs: numbers as numbers, everything "
            "else as text, null where it does not apply."
        )
    if name in REPEATED:
        word, prefixes = REPEATED[name]
        return f"\n\n`<{word}>` is one of {_listed(prefixes)}."
    return ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _sentence(text: str) -> str:
    return re.sub(r"^\w", lambda first: first[0].upper(), text) + "."
