"""The six tables: their columns, in Parquet that pandas, polars and DuckDB read with no Ray installed.

The report writes `leaderboard` beside them, and `published` where the run names a table of printed numbers. Arrays are
plain lists. The version stands in the schema's metadata; it is raised when a column changes its meaning.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

VERSION = "1"

_LEDGER = [
    pa.field("samples_forward", pa.int64()),
    pa.field("samples_backward", pa.int64()),
    pa.field("steps", pa.int64()),
    pa.field("seconds", pa.float64()),
    pa.field("peak_memory_bytes", pa.int64()),
]
_AUDIT = [
    pa.field(name, pa.float64())
    for name in (
        "retain_accuracy",
        "forget_accuracy",
        "validation_accuracy",
        "retain_loss",
        "forget_loss",
        "validation_loss",
        "mia_auc",
    )
]

SCHEMAS: Mapping[str, pa.Schema] = {
    # one row per sample that has a role
    "splits": pa.schema(
        [
            pa.field("id", pa.int64()),
            pa.field("role", pa.string()),
            pa.field("label", pa.int64()),  # null for multi-label data
            pa.field("labels", pa.list_(pa.int64())),  # null for single-label data
            pa.field("group", pa.int64()),  # identity, null where the data have none
            pa.field("mislabeled", pa.bool_()),
        ]
    ),
    # one row per model: original, retrained, unlearned; accuracies are on retain, forget, validation only
    "models": pa.schema(
        [
            pa.field("model", pa.string()),  # fingerprint
            pa.field("name", pa.string()),
            pa.field("kind", pa.string()),  # original, retrained, unlearned
            pa.field("method", pa.string()),  # the entry of `methods:`
            pa.field("function", pa.string()),  # the method behind it; null for trained models
            pa.field("seed", pa.int64()),
            pa.field("hyperparameters", pa.string()),  # JSON
            pa.field("recipe", pa.string()),  # JSON; null for unlearned models and given checkpoints
            pa.field("status", pa.string()),
            pa.field("reason", pa.string()),
            *_AUDIT,
            *_LEDGER,
            pa.field("relative_cost", pa.float64()),  # (forward + 2 x backward) sample passes / those of a retrained model
        ]
    ),
    # one row per trial and epoch; a failed trial is one row with its error
    "trials": pa.schema(
        [
            pa.field("trial", pa.string()),  # fingerprint
            pa.field("method", pa.string()),
            pa.field("phase", pa.string()),  # search, final
            pa.field("seed", pa.int64()),
            pa.field("epoch", pa.int64()),
            pa.field("hyperparameters", pa.string()),  # JSON
            pa.field("status", pa.string()),  # finished, stopped, failed
            pa.field("reason", pa.string()),
            pa.field("traceback", pa.string()),
            pa.field("chosen", pa.bool_()),
            pa.field("last", pa.bool_()),  # the trial's last row
            pa.field("objective", pa.float64()),
            pa.field("budget_trials", pa.int64()),  # how many the experiment allowed this method
            *_AUDIT,
            *_LEDGER,
        ]
    ),
    # one row per model, split and sample
    "predictions": pa.schema(
        [
            pa.field("model", pa.string()),
            pa.field("split", pa.string()),
            pa.field("id", pa.int64()),
            pa.field("label", pa.int64()),
            pa.field("labels", pa.list_(pa.int64())),
            pa.field("logits", pa.list_(pa.float32())),
            pa.field("features", pa.list_(pa.float32())),
        ]
    ),
    # one row per model, split, metric and setting
    "metrics": pa.schema(
        [
            pa.field("model", pa.string()),
            pa.field("name", pa.string()),
            pa.field("kind", pa.string()),
            pa.field("method", pa.string()),
            pa.field("seed", pa.int64()),
            pa.field("split", pa.string()),  # null for metrics of the whole model
            pa.field("metric", pa.string()),
            pa.field("setting", pa.string()),  # "alpha=0.05", or empty
            pa.field("value", pa.float64()),
            pa.field("low", pa.float64()),
            pa.field("high", pa.float64()),
            pa.field("n", pa.int64()),
            pa.field("interval", pa.string()),  # how low and high were made, or why there are none
            pa.field("reference", pa.string()),  # retrained, original, or null
            pa.field("protocol", pa.string()),  # corrected, released
            pa.field("direction", pa.string()),  # match, raise, lower
            pa.field("gap", pa.float64()),  # value - mean of the retrained models (leave-one-out for these)
            pa.field("gap_low", pa.float64()),
            pa.field("gap_high", pa.float64()),
            pa.field("gap_n", pa.int64()),  # retrained models that the gap is to
            pa.field("gap_interval", pa.string()),
            pa.field("reason", pa.string()),  # why there is no value
        ]
    ),
    # one row per model and sample of forget, test and unseen
    "samples": pa.schema(
        [
            pa.field("model", pa.string()),
            pa.field("split", pa.string()),
            pa.field("id", pa.int64()),
            pa.field("loss", pa.float64()),
            pa.field("margin", pa.float64()),  # true-class logit minus the largest other; null for multi-label
            pa.field("attack_score", pa.float64()),  # -loss: high means "member"
            pa.field("alpha", pa.float64()),  # of the prediction set
            pa.field("in_prediction_set", pa.bool_()),
            pa.field("neighbors_right", pa.bool_()),  # the vote of the 5 nearest retain samples is the sample's label
            pa.field("epsilon", pa.float64()),  # null without a population of models
        ]
    ),
}


# one row per line of the printed ranking, in its order; written with the report
LEADERBOARD = pa.schema(
    [
        pa.field("method", pa.string()),  # retrained, original, or the entry of `methods:`
        pa.field("kind", pa.string()),  # original, retrained, unlearned
        pa.field("rank", pa.int64()),  # by the mean gap; null for what is not ranked
        pa.field("rank_low", pa.int64()),  # ranks that the seeds do not rule out (95 %, all methods together)
        pa.field("rank_high", pa.int64()),  # null with one seed, and for a method that lacks a seed
        pa.field("pareto", pa.int64()),  # front of (forget_gap, utility_gap, relative_cost); null where one of them is
        pa.field("ranked_by", pa.string()),  # the metric that `gap` is the mean of: average_gap, gap_to_ideal
        pa.field("gap", pa.float64()),  # points
        pa.field("gap_low", pa.float64()),
        pa.field("gap_high", pa.float64()),
        pa.field("n", pa.int64()),  # models
        pa.field("forget_gap", pa.float64()),  # points: mean absolute gap of the models over the memory columns
        pa.field("utility_gap", pa.float64()),  # points: the same over the utility columns
        pa.field("relative_cost", pa.float64()),  # mean over models
        pa.field("reason", pa.string()),  # why there is no gap
    ]
)

# of a run whose experiment names a table of printed numbers: one row per printed number, and one per number of a method
# that is not printed; written with the report
PUBLISHED = pa.schema(
    [
        pa.field("printed_table", pa.string()),  # as `raybench list tables` names it
        pa.field("source", pa.string()),
        pa.field("place", pa.string()),  # table or notebook; null for numbers that are not printed
        pa.field("dataset", pa.string()),
        pa.field("setting", pa.string()),  # of the source's experiment
        pa.field("method", pa.string()),  # original, retrained, or the method's name here; empty where it is not stated
        pa.field("method_printed", pa.string()),
        pa.field("preset_or_variant", pa.string()),  # JSON
        pa.field("metric", pa.string()),  # `derived`: nothing that is measured here
        pa.field("metric_printed", pa.string()),
        pa.field("split", pa.string()),
        pa.field("metric_setting", pa.string()),  # "alpha=0.05", "population", or empty
        pa.field("unit", pa.string()),
        pa.field("printed", pa.float64()),  # fractions as fractions
        pa.field("printed_text", pa.string()),  # as it stands there
        pa.field("consistent", pa.bool_()),  # false: `note` says what the printed number disagrees with
        pa.field("note", pa.string()),
        *(
            field
            for protocol in ("released", "corrected")
            for field in (
                pa.field(protocol, pa.float64()),  # mean over the models
                pa.field(f"{protocol}_low", pa.float64()),
                pa.field(f"{protocol}_high", pa.float64()),
                pa.field(f"{protocol}_n", pa.int64()),  # models
                pa.field(f"{protocol}_run", pa.string()),
                pa.field(f"{protocol}_reason", pa.string()),  # why there is no value
            )
        ),
        pa.field("difference", pa.float64()),  # printed - released
    ]
)


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


def _schema(name: str) -> pa.Schema:
    return {**SCHEMAS, "leaderboard": LEADERBOARD, "published": PUBLISHED}[name]


def noted(content: pa.Table, **notes: str) -> pa.Table:
    """Add notes to a table's metadata, each as `raybench_<name>`."""
    return content.replace_schema_metadata({**(content.schema.metadata or {}), **_named(notes)})


def _named(notes: Mapping[str, str]) -> dict[bytes, bytes]:
    return {f"raybench_{name}".encode(): value.encode() for name, value in notes.items()}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for key, value in row.items()}


def with_hyperparameters(content: pa.Table) -> pa.Table:
    """Add a column `hp_<name>` for every hyperparameter that occurs: numbers as float64, the rest as text."""
    parsed = [json.loads(text) if text else {} for text in content["hyperparameters"].to_pylist()]
    for name in sorted({key for values in parsed for key in values}):
        column = [values.get(name) for values in parsed]
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in column if v is not None)
        plain = [v if v is None else float(v) if numeric else str(v) for v in column]
        content = content.append_column(f"hp_{name}", pa.array(plain, pa.float64() if numeric else pa.string()))
    return content
