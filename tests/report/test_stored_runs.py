"""A stored run that is incomplete or older gives a report or one sentence, never a KeyError."""

import io
import json
import os
import shutil

import pyarrow as pa
import pytest
from rich.console import Console

from raybench.errors import UserError
from raybench.progress import Reporter
from raybench.report.write import write_report
from raybench.storage import tables
from raybench.storage.store import Store

NEEDED = ("models", "splits", "trials", "metrics")
OPTIONAL = ("memory", "exposure", "samples", "search")
ADDED = {  # as if the run were older than these columns
    "metrics": ["by_retrained", "gap_interval"],
    "models": ["relative_cost", "recipe"],
    "trials": ["chosen", "traceback"],
    "samples": ["epsilon"],
    "memory": ["denied", "denied_low"],
}
MANIFEST = {
    "raybench": "0.1.0",
    "raybench_commit": None,
    "schema_version": tables.VERSION,
    "packages": {"torch": "2.9"},
    "host": {"name": "host", "system": "Linux", "cpus": 2, "gpus": []},
    "started": "2026-01-01T00:00:00",
    "seeds": {},
    "experiment": "name: tiny\ndata:\n  dataset: digits\n",
    "sweep": {"objective": "gap_to_retrained", "tuning_request": "same", "searched": [], "trials": 1},
    "paper": None,
    "checkpoint": None,
}


@pytest.fixture
def run(tables_folder, tmp_path):
    """Return a store with a copy of the tables of the tiny run, and a manifest."""
    shutil.copytree(tables_folder, tmp_path / "tiny" / "tables", copy_function=os.link)
    store = Store(str(tmp_path))
    store.write_json("tiny/manifest.json", MANIFEST)
    return store


def report(store):
    write_report(store, "tiny", Reporter(Console(file=io.StringIO()), verbosity=-1))
    return store.read_bytes("tiny/report.html").decode()


def replace(store, name, change):
    key = f"tiny/tables/{name}.parquet"
    store.write_table(key, change(store.read_table(key)))


def with_version(version):
    return lambda content: content.replace_schema_metadata(
        {key: value for key, value in content.schema.metadata.items() if key != b"raybench_schema_version"}
        | ({b"raybench_schema_version": version} if version else {})
    )


def test_tables_of_this_version_give_a_page_with_the_failed_method(run):
    page = report(run)
    assert "<h1>tiny</h1>" in page
    assert "the method&#x27;s own fault" in page
    board = json.loads(run.read_table("tiny/tables/leaderboard.parquet").schema.metadata[b"raybench_leaderboard"])
    assert board["num_retrained"] == 2


@pytest.mark.parametrize("version", [b"2", b"4", None])
@pytest.mark.parametrize("name", ["metrics", "memory"])
def test_another_version_of_a_table_is_refused_with_what_to_do(run, name, version):
    replace(run, name, with_version(version))
    found = version.decode() if version else "unknown"
    with pytest.raises(UserError, match=rf"{name}.parquet has version {found} .* reads version {tables.VERSION}: run"):
        report(run)


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_table_is_named(run, name):
    os.remove(run.path(f"tiny/tables/{name}.parquet"))
    with pytest.raises(UserError, match=f"no table '{name}': run `raybench run`"):
        report(run)


def test_a_run_without_tables_of_details_has_a_page_without_them(run):
    for name in OPTIONAL:
        os.remove(run.path(f"tiny/tables/{name}.parquet"))
    page = report(run)
    assert '<section id="summary"' in page
    assert '<section id="distributions"' not in page


def test_columns_that_were_added_since_may_be_missing(run):
    for name, columns in ADDED.items():
        replace(run, name, lambda content, columns=columns: content.drop_columns(columns))
    assert "<h1>tiny</h1>" in report(run)


@pytest.mark.parametrize("name", ["metrics", "models", "trials"])
def test_a_table_without_a_column_that_identifies_its_rows_is_refused(run, name):
    replace(run, name, lambda content: content.drop_columns(["original"]))
    with pytest.raises(UserError, match=rf"{name}.parquet lacks the columns original: run `raybench run`"):
        report(run)


def test_columns_that_were_added_since_are_null_and_others_stay(run):
    content = run.read_table("tiny/tables/models.parquet")
    completed = tables.completed("models", content.drop_columns(["relative_cost", "status"]))
    assert set(completed.column_names) == set(content.column_names)
    assert completed["relative_cost"].null_count == len(content)
    assert completed["hp_lr"].equals(content["hp_lr"])
    assert tables.completed("models", content).equals(content)
    assert pa.types.is_float64(completed.schema.field("relative_cost").type)


@pytest.mark.parametrize("key", ["sweep", "host", "experiment"])
def test_a_manifest_of_another_version_is_refused_with_what_to_do(run, key):
    run.write_json("tiny/manifest.json", {name: value for name, value in MANIFEST.items() if name != key})
    with pytest.raises(UserError, match=rf"manifest.json lacks {key}: another version"):
        report(run)


def test_a_run_without_a_manifest_is_named(run):
    os.remove(run.path("tiny/manifest.json"))
    with pytest.raises(UserError, match=r"no manifest\.json"):
        report(run)
