"""The schemas of the nine tables of a run, in Parquet that pandas, polars and DuckDB read without Ray.

The report adds `leaderboard` and, if the experiment names a table of reported results, `reported`. Arrays are plain
lists. The version is in the metadata of the schema; it increases when a column
changes its name or meaning.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from raybench.storage.report_schemas import LEADERBOARD, REPORTED

VERSION = "3"

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
            pa.field("tuning", pa.string()),  # forget, retain: what a search uses a retain sample for; null: reported
            pa.field("label", pa.int64()),  # null for multi-label data
            pa.field("labels", pa.list_(pa.int64())),  # null for single-label data
            pa.field("group", pa.int64()),  # identity; null if the data set has none
            pa.field("mislabeled", pa.bool_()),
        ]
    ),
    # one row per model: original, retrained, unlearned; accuracies are on retain, forget, validation only
    "models": pa.schema(
        [
            pa.field("model", pa.string()),  # fingerprint
            pa.field("name", pa.string()),
            pa.field("kind", pa.string()),  # original, retrained, unlearned
            pa.field("method", pa.string()),  # the key under `methods:`
            pa.field("function", pa.string()),  # the method behind it; null for trained models
            pa.field("seed", pa.int64()),
            pa.field("original", pa.int64()),  # number of the original that it is or started from; retrained: 0
            pa.field("hyperparameters", pa.string()),  # JSON
            pa.field("recipe", pa.string()),  # JSON; null for unlearned models and imported checkpoints
            pa.field("status", pa.string()),
            pa.field("reason", pa.string()),
            *_AUDIT,
            *_LEDGER,
            pa.field(
                "relative_cost", pa.float64()
            ),  # (forward + 2 x backward) sample passes / those of a retrained model
        ]
    ),
    # one row per trial and epoch; a failed trial is one row with its error
    "trials": pa.schema(
        [
            pa.field("trial", pa.string()),  # fingerprint
            pa.field("method", pa.string()),
            pa.field("phase", pa.string()),  # search, finalist (the best settings again), final
            pa.field("seed", pa.int64()),
            pa.field("original", pa.int64()),  # number of the original that it started from
            pa.field("epoch", pa.int64()),
            pa.field("hyperparameters", pa.string()),  # JSON
            pa.field("status", pa.string()),  # finished, stopped, failed
            pa.field("reason", pa.string()),
            pa.field("traceback", pa.string()),
            pa.field("chosen", pa.bool_()),  # runs of the chosen setting, in every phase
            pa.field("last", pa.bool_()),  # the trial's last row
            pa.field("objective", pa.float64()),
            pa.field("budget_trials", pa.int64()),  # trials that the experiment allows each method
            *_AUDIT,
            *_LEDGER,
        ]
    ),
    # one row per searched method and number of trials; absent if nothing was searched
    "search": pa.schema(
        [
            pa.field("method", pa.string()),
            pa.field("objective", pa.string()),
            pa.field("trials", pa.int64()),
            pa.field("expected_best", pa.float64()),  # objective of the best of so many trials, over their subsets
            pa.field("chosen_value", pa.float64()),  # objective of the chosen setting in its trial
            pa.field("chosen_again", pa.float64()),  # mean objective of its further runs; null without
            pa.field("runs_again", pa.int64()),
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
            pa.field("original", pa.int64()),  # number of its own original, which metrics compare it with; retrained: 0
            pa.field("split", pa.string()),  # null for metrics of the whole model
            pa.field("metric", pa.string()),
            pa.field("setting", pa.string()),  # "alpha=0.05", or empty
            pa.field("value", pa.float64()),
            pa.field("low", pa.float64()),
            pa.field("high", pa.float64()),
            pa.field("n", pa.int64()),
            pa.field("interval", pa.string()),  # how low and high were computed, or why there are none
            pa.field("reference", pa.string()),  # retrained, original, or null
            pa.field("protocol", pa.string()),  # corrected, released
            pa.field("direction", pa.string()),  # match, raise, lower
            pa.field("gap", pa.float64()),  # value - mean of the retrained models (leave-one-out for these)
            pa.field("gap_low", pa.float64()),
            pa.field("gap_high", pa.float64()),
            pa.field("gap_n", pa.int64()),  # retrained models that the gap is to
            pa.field("gap_interval", pa.string()),
            pa.field("reason", pa.string()),  # why there is no value
            # the values whose mean is `value`, against each retrained model in order, null against itself; else null
            pa.field("by_retrained", pa.list_(pa.float64())),
        ]
    ),
    # one row per method, one for the originals, one for the retrained models (mean of audits of one model each)
    "memory": pa.schema(
        [
            pa.field("method", pa.string()),
            pa.field("kind", pa.string()),
            pa.field("value", pa.float64()),  # residual memory: 0 as retrained, 1 as the original
            pa.field("low", pa.float64()),  # one-sided 95 % bounds
            pa.field("high", pa.float64()),
            pa.field("detectable", pa.float64()),  # the smallest value whose lower bound is above 0
            *(
                pa.field(f"{reading}_{name}", pa.float64())
                for reading in ("samples", "confidence")
                for name in ("value", "low", "high", "detectable")
            ),
            pa.field("denied", pa.float64()),  # share of forget samples less confident than retrained models would be
            pa.field("denied_low", pa.float64()),  # one-sided 99 % bound
            pa.field("n", pa.int64()),  # forget samples
            pa.field("runs", pa.int64()),
            pa.field("retrained", pa.int64()),  # number of retrained models
            pa.field("originals", pa.int64()),
            pa.field("reason", pa.string()),  # why there is no value
        ]
    ),
    # one row per method (or the originals) and forget sample
    "exposure": pa.schema(
        [
            pa.field("method", pa.string()),
            pa.field("id", pa.int64()),
            pa.field("exposure", pa.float64()),  # posterior probability of membership at a prior of 2 %, mean over runs
            pa.field("confidence", pa.float64()),  # log-odds of the true label, mean over runs
            pa.field("original_confidence", pa.float64()),
            pa.field("retrained_confidence", pa.float64()),
        ]
    ),
    # one row per model and sample of forget, test and unseen
    "samples": pa.schema(
        [
            pa.field("model", pa.string()),
            pa.field("original", pa.int64()),  # as in `metrics`; null for a population
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
    return {**SCHEMAS, "leaderboard": LEADERBOARD, "reported": REPORTED}[name]


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
        column = [values.get(name) for values in parsed]
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in column if v is not None)
        plain = [v if v is None else float(v) if numeric else str(v) for v in column]
        content = content.append_column(f"hp_{name}", pa.array(plain, pa.float64() if numeric else pa.string()))
    return content
