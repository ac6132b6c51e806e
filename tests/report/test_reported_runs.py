"""The run of the other protocol, and what the report writes for a run that names a table of reported results."""

import io
import re

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console

from raybench.pipeline.manifest import manifest
from raybench.progress import Reporter
from raybench.report.reported import newest_run, runs_by_protocol
from raybench.report.write import write_report
from raybench.storage import report_schemas, tables
from raybench.storage.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "runs"))


@pytest.fixture
def finished(store, make_run, make_experiment, monkeypatch):
    """Put a finished made-up run with a manifest on the storage."""
    monkeypatch.setenv("RAYBENCH_GIT_COMMIT", "abc")  # asking git takes longer than the test

    def put(name, given=None, *, started="2026-01-01T00:00:00+0000", with_tables=True):
        made = make_run({"scrub": [(0.87, 0.99, 0.88, 0.53, 0.70, 0.85, 0.93)] * 2})
        head = manifest(make_experiment(paper=given), f"name: {name}\n", {})
        store.write_json(f"{name}/manifest.json", {**head, "started": started})
        roles = pd.DataFrame({"id": range(6), "role": ["retain", "forget", "test"] * 2})
        for table, frame in {**made._asdict(), "splits": roles}.items():
            if with_tables:
                content = tables.cast(table, pa.Table.from_pandas(frame, preserve_index=False))
                store.write_table(f"{name}/tables/{table}.parquet", content)
        return made

    return put


def named(table="mufac_age", protocol="released"):
    return {"table": table, "protocol": protocol}


def test_the_compared_run_is_the_newest_finished_run_of_the_same_table_and_the_other_protocol(store, finished):
    finished("mine/01234567", named(protocol="corrected"))
    assert newest_run(store, "mufac_age", "released", exclude="mine/01234567") is None
    finished("old/01234567", named(), started="2026-01-02T00:00:00+0000")
    finished("new/01234567", named(), started="2026-01-03T05:00:00+0900")  # 20:00 the day before in UTC
    finished("other_table/01234567", named("mucac_young"), started="2026-01-09T00:00:00+0000")
    finished("unfinished/01234567", named(), started="2026-01-09T00:00:00+0000", with_tables=False)
    finished("unnamed/01234567", None, started="2026-01-09T00:00:00+0000")
    store.write_bytes("artifacts/models/x.pt", b"")
    assert newest_run(store, "mufac_age", "released", exclude="mine/01234567").name == "new/01234567"
    assert newest_run(store, "mufac_age", "corrected", exclude="mine/01234567") is None
    found = newest_run(store, "mufac_age", "corrected", exclude="new/01234567")
    assert found.name == "mine/01234567"
    assert set(found.metrics.method) == {"scrub", "original", "retrained"}


def test_each_run_is_in_the_column_of_its_own_protocol(store, finished):
    finished("theirs/01234567", named())
    made = finished("mine/01234567", named(protocol="corrected"))
    found = runs_by_protocol(store, "mine/01234567", {"paper": named(protocol="corrected")}, made.metrics, made.models)
    names = {protocol: one.name.partition("/")[0] for protocol, one in found.items()}
    assert names == {"corrected": "mine", "released": "theirs"}


def reported(store, name):
    stream = io.StringIO()
    write_report(store, name, Reporter(Console(file=stream, width=150)))
    return store.read_bytes(f"{name}/report.md").decode(), stream.getvalue()


def test_the_report_has_the_section_and_the_table_opens_in_pandas_and_duckdb(store, finished):
    finished("theirs/01234567", named())
    finished("mine/01234567", named(protocol="corrected"))
    text, console = reported(store, "mine/01234567")
    assert "## Comparison with reported results" in text
    assert "Released protocol: run `theirs/01234567`" in text
    assert "scrub (SCRUB)" in console
    path = store.path("mine/01234567/tables/reported.parquet")
    frame = pd.read_parquet(path)
    assert list(frame.columns) == report_schemas.REPORTED.names
    row = frame[(frame.method == "scrub") & (frame.place == "Table 1") & (frame.metric == "accuracy")].iloc[0]
    assert (row.reported, row.released, row.corrected) == pytest.approx((0.5984, 0.88, 0.88))
    query = f"select count(*) from '{path}' where reported is not null and not consistent and released is not null"
    marked = frame[frame.reported.notna() & frame.consistent.eq(False) & frame.released.notna()]
    assert duckdb.sql(query).fetchall()[0][0] == len(marked) > 0


def test_nothing_reported_and_nothing_of_the_other_run_enters_the_ranking(store, finished):
    finished("plain/01234567")
    alone, _ = reported(store, "plain/01234567")
    finished("theirs/01234567", named())
    finished("plain/01234567", named(protocol="corrected"))
    with_paper, _ = reported(store, "plain/01234567")

    def ranking(text):
        return re.split(r"## (?:Comparison|Hyperparameter|Notes|Environment)", text)[0]

    assert ranking(with_paper) == ranking(alone)
    assert "## Comparison with reported" not in alone


def test_a_run_that_no_longer_names_a_table_drops_the_file(store, finished):
    finished("mine/01234567", named())
    reported(store, "mine/01234567")
    assert store.exists("mine/01234567/tables/reported.parquet")
    finished("mine/01234567", None)
    reported(store, "mine/01234567")
    assert not store.exists("mine/01234567/tables/reported.parquet")
