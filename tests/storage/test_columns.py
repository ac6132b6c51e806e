"""Every column describes itself: in the schemas, in the files of a run, and in docs/tables.md."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.docgen.tables_page import tables_page
from raybench.storage import tables
from raybench.storage.columns import KEYS, facts

SCHEMAS = {**tables.SCHEMAS, **tables.REPORT_SCHEMAS}
PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_has_a_description_and_every_number_a_unit_or_a_range(name):
    assert tables.ROWS[name]
    for field in SCHEMAS[name]:
        fact = facts(field)
        assert len(fact["description"]) > 3, field.name
        assert fact["description"].isascii()
        assert not fact["description"].endswith(".")
        assert set(field.metadata) <= {key.encode() for key in KEYS}
        if pa.types.is_floating(field.type) or pa.types.is_integer(field.type):
            assert fact["unit"] or fact["values"], field.name


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_page_has_a_row_for_every_column(name):
    assert tables_page() == PAGE
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    rows = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    replaced = re.search(r"`(<\w+>)` is one of (.*)\.", section)
    names = [row for row in rows if "<" not in row]
    for row in (row for row in rows if "<" in row):
        names += [row.replace(replaced[1], prefix) for prefix in re.findall(r"`(\w+)`", replaced[2])]
    assert sorted(names) == sorted(SCHEMAS[name].names)


def test_the_files_of_a_run_have_the_descriptions_and_only_them_besides_the_content(tables_folder):
    for file in sorted(tables_folder.rglob("*.parquet")):
        name = file.stem if file.parent == tables_folder else "predictions"
        schema = pq.read_schema(file)
        for field in SCHEMAS[name]:
            assert facts(schema.field(field.name)) == facts(field), (name, field.name)
        extra = set(schema.names) - set(SCHEMAS[name].names)
        assert all(facts(schema.field(column))["description"].startswith("hyperparameter `") for column in extra)


def test_metadata_do_not_count_when_tables_are_compared():
    content = tables.table("search", [{"method": "scrub", "trials": 1}])
    bare = content.cast(pa.schema([pa.field(field.name, field.type) for field in content.schema]))
    assert content.equals(bare)
    assert tables.cast("search", bare).schema.equals(content.schema, check_metadata=True)
