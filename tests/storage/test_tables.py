"""The tables' schemas: complete, versioned, and readable by other tools without Ray or raybench."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.storage import tables

READ = """
import json, sys
sys.modules["ray"] = sys.modules["raybench"] = sys.modules["torch"] = None  # importing them fails
import duckdb, pandas, polars
import pyarrow.parquet
folder, found = sys.argv[1], {}
for name in ("splits", "models", "trials", "search", "metrics", "memory", "exposure", "samples", "predictions"):
    file = f"{folder}/{name}.parquet" if name != "predictions" else f"{folder}/predictions/*.parquet"
    many = f"{folder}/predictions" if name == "predictions" else file
    frame, lazy = pandas.read_parquet(many), polars.scan_parquet(file).collect()
    rows = duckdb.sql(f"select count(*) from '{file}'").fetchall()[0][0]
    assert len(frame) == len(lazy) == rows, name
    assert rows or name == "exposure", name  # two retrained models are too few for exposures
    assert list(frame.columns) == lazy.columns, name
    found[name] = {"rows": rows, "columns": list(frame.columns)}
one = duckdb.sql(f"select logits, features from '{folder}/predictions/*.parquet' limit 1").fetchall()[0]
found["lists"] = [type(value).__name__ for value in one] + [type(one[0][0]).__name__]
mean = duckdb.sql(f"select model, avg((label = list_position(logits, list_max(logits)) - 1)::int) "
                  f"from '{folder}/predictions/*.parquet' where split = 'retain' group by 1").fetchall()
found["retain accuracy"] = dict(mean)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def read(tables_folder):
    """What pandas, polars and DuckDB find, in a process that can import neither ray nor raybench."""
    done = subprocess.run([sys.executable, "-c", READ, str(tables_folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [name for name in tables.SCHEMAS if name != "signals"])  # only of large splits
def test_pandas_polars_and_duckdb_read_the_table_without_ray(read, name):
    hyperparameters = {c for c in read[name]["columns"] if c.startswith("hp_")}
    assert [c for c in read[name]["columns"] if c not in hyperparameters] == tables.SCHEMAS[name].names
    assert bool(hyperparameters) == (name in ("models", "trials"))


def test_arrays_are_plain_lists_that_duckdb_computes_with(read, trained):
    assert read["lists"] == ["list", "list", "float"]
    for job, record in zip(trained.jobs, trained.records):
        assert read["retain accuracy"][job.key.split("/")[-1]] == pytest.approx(record["audit"]["retain_accuracy"])


def test_every_file_says_its_table_and_the_version_of_the_schema(tables_folder):
    files = sorted(tables_folder.rglob("*.parquet"))
    for file in files:
        schema = pq.read_schema(file)
        name = file.stem if file.parent == tables_folder else "predictions"
        assert schema.metadata[b"raybench_table"].decode() == name
        assert schema.metadata[b"raybench_schema_version"].decode() == tables.VERSION
        assert not any(isinstance(field.type, pa.ExtensionType) for field in schema)


def test_absent_values_become_null_and_mappings_json():
    content = tables.table("trials", [{"method": "scrub", "hyperparameters": {"lr": 0.1, "epochs": 2}}])
    assert content.schema.equals(tables.SCHEMAS["trials"])
    assert json.loads(content["hyperparameters"][0].as_py()) == {"epochs": 2, "lr": 0.1}
    assert content["objective"].null_count == 1


def test_a_value_of_the_wrong_type_is_refused_rather_than_stored():
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        tables.table("trials", [{"epoch": "first"}])


def test_hyperparameters_become_columns_of_their_own():
    rows = [
        {"hyperparameters": json.dumps({"lr": 0.1, "order": "min"})},
        {"hyperparameters": json.dumps({"lr": 1, "nested": [1, 2]})},
        {"hyperparameters": None},
    ]
    content = tables.with_hyperparameters(tables.table("trials", rows))
    assert content["hp_lr"].to_pylist() == [0.1, 1.0, None]
    assert content["hp_order"].to_pylist() == ["min", None, None]
    assert content["hp_nested"].to_pylist() == [None, "[1, 2]", None]
    assert content.schema.metadata[b"raybench_table"] == b"trials"
