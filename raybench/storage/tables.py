"""The schemas of the nine tables of a run, in Parquet that pandas, polars and DuckDB read without Ray.

The report adds `leaderboard` and, if the experiment names a table of reported results, `reported`. Arrays are plain
lists. Every field describes itself in its metadata (`columns`). The version is in the metadata of the schema; it
increases when a column changes its name or meaning.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from raybench.storage import report_schemas, result_schemas, run_schemas
from raybench.storage.columns import REAL, TEXT, column

VERSION = "3"

SCHEMAS: Mapping[str, pa.Schema] = {
    "splits": run_schemas.SPLITS,
    "models": run_schemas.MODELS,
    "trials": run_schemas.TRIALS,
    "search": run_schemas.SEARCH,
    "predictions": run_schemas.PREDICTIONS,
    "signals": run_schemas.SIGNALS,
    "metrics": result_schemas.METRICS,
    "memory": result_schemas.MEMORY,
    "exposure": result_schemas.EXPOSURE,
    "samples": result_schemas.SAMPLES,
}
REPORT_SCHEMAS: Mapping[str, pa.Schema] = {
    "leaderboard": report_schemas.LEADERBOARD,
    "reported": report_schemas.REPORTED,
}
# what a row is, and when a table is absent
ROWS: Mapping[str, str] = {
    "splits": "one row per sample that has a role",
    "models": "one row per model: original, retrained, unlearned; accuracies on retain, forget and validation only",
    "trials": "one row per trial and epoch; a failed trial is one row with its error",
    "search": "one row per searched method and number of trials; absent if nothing was searched",
    "predictions": "one row per model, split and sample; a folder, one file per model, split and piece of the split",
    "signals": "one row per model and sample of a split above `evaluate.stream_above`; absent without such a split",
    "metrics": "one row per model, split, metric and setting",
    "memory": "one row per method, one for the originals, one for the retrained models (mean of audits of one model "
    "each)",
    "exposure": "one row per method (or the originals, or the retrained models) and forget sample; no row with too few "
    "retrained models",
    "samples": "one row per model and sample of forget, test and unseen",
    "leaderboard": "one row per row of the leaderboard, in its order; written with the report",
    "reported": "one row per reported number of the paper, then one per number that only the run has; absent if the "
    "experiment names no paper table",
}


def table(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows as the named table: exactly its columns, in order, with its version; absent values are null."""
    return cast(name, pa.Table.from_pylist([_flat(row) for row in rows], schema=_schema(name)))


def cast(name: str, content: pa.Table) -> pa.Table:
    """Give a table the named schema and its version; columns that are missing become null."""
    schema = _schema(name).with_metadata({"raybench_table": name, "raybench_schema_version": VERSION})
    columns = [
        content[field.name].cast(field.type)
        if field.name in content.column_names
        else pa.nulls(len(content), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def completed(name: str, content: pa.Table) -> pa.Table:
    """Return a stored table with null columns for those that its schema has gained since; others stay as they are."""
    for field in _schema(name):
        if field.name not in content.column_names:
            content = content.append_column(field, pa.nulls(len(content), field.type))
    return content


def _schema(name: str) -> pa.Schema:
    return {**SCHEMAS, **REPORT_SCHEMAS}[name]


def noted(content: pa.Table, **notes: str) -> pa.Table:
    """Add notes to a table's metadata, each as `raybench_<name>`."""
    return content.replace_schema_metadata({**(content.schema.metadata or {}), **_prefixed(notes)})


def _prefixed(notes: Mapping[str, str]) -> dict[bytes, bytes]:
    return {f"raybench_{name}".encode(): value.encode() for name, value in notes.items()}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for key, value in row.items()}


def with_hyperparameters(content: pa.Table) -> pa.Table:
    """Add a column `hp_<name>` for every hyperparameter that occurs: numbers as float64, the rest as text."""
    parsed = [json.loads(text) if text else {} for text in content["hyperparameters"].to_pylist()]
    for name in sorted({key for values in parsed for key in values}):
        raw = [values.get(name) for values in parsed]
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in raw if v is not None)
        plain = [v if v is None else float(v) if numeric else str(v) for v in raw]
        field = column(
            f"hp_{name}", REAL if numeric else TEXT, f"hyperparameter `{name}`; null where it does not apply"
        )
        content = content.append_column(field, pa.array(plain, field.type))
    return content
