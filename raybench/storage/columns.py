"""Columns of the tables: their types, and what they mean, as metadata of each field of a Parquet file.

The metadata of a field has the keys `description` and, where they apply, `unit`, `values` (the range, or the values
that occur) and `direction`. docs/tables.md is generated from them.
"""

import pyarrow as pa

TEXT, WHOLE, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
KEYS = ("description", "unit", "values", "direction")
MATCH = "match retrained"


def column(
    name: str, kind: pa.DataType, description: str, *, unit: str = "", values: str = "", direction: str = ""
) -> pa.Field:
    """Return a field that describes itself.

    `unit`: of a number, such as "fraction" or "nats"; `values`: its range, or the values that occur; `direction`: what
    a good value is, for a result: "lower", "higher", or "match retrained".
    """
    texts = dict(zip(KEYS, (description, unit, values, direction)))
    return pa.field(name, kind, metadata={key: text for key, text in texts.items() if text})


def facts(field: pa.Field) -> dict[str, str]:
    """Return the metadata of a field as text, with every key of `KEYS`; absent ones are empty."""
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    return {key: metadata.get(key, "") for key in KEYS}


# columns that several tables have
MODEL = column("model", TEXT, "model id: a hash of everything that decides the model", values="16 hex digits")
KIND = column("kind", TEXT, "what the model is", values="original, retrained, unlearned")
METHOD = column(
    "method", TEXT, "the key under `methods:` in the experiment; `original`, `retrained` for trained models"
)
SEED = column("seed", WHOLE, "seed of the training or of the method's run", values="0 and above")
HYPERPARAMETERS = column("hyperparameters", TEXT, "all hyperparameters of the run, as a JSON object")
ID = column("id", WHOLE, "sample id: the row number in the data set", values="0 and above")
LABEL = column("label", WHOLE, "class number; null for data with several labels per sample", values="0 to classes - 1")
LABELS = column("labels", pa.list_(WHOLE), "one 0 or 1 per label; null for data with one label per sample")
AUDIT = [
    column("retain_accuracy", REAL, "accuracy on the retain set", unit="fraction", values="0 to 1", direction=MATCH),
    column("forget_accuracy", REAL, "accuracy on the forget set", unit="fraction", values="0 to 1", direction=MATCH),
    column("validation_accuracy", REAL, "accuracy on validation", unit="fraction", values="0 to 1", direction=MATCH),
    column(
        "retain_loss", REAL, "mean cross-entropy on the retain set", unit="nats", values="0 and above", direction=MATCH
    ),
    column(
        "forget_loss", REAL, "mean cross-entropy on the forget set", unit="nats", values="0 and above", direction=MATCH
    ),
    column(
        "validation_loss", REAL, "mean cross-entropy on validation", unit="nats", values="0 and above", direction=MATCH
    ),
    column(
        "mia_auc",
        REAL,
        "AUC of a membership inference attack on losses, forget against validation; 0.5 = chance",
        values="0 to 1",
        direction=MATCH,
    ),
]
LEDGER = [
    column("samples_forward", WHOLE, "forward passes, counted in samples", unit="samples", values="0 and above"),
    column("samples_backward", WHOLE, "backward passes, counted in samples", unit="samples", values="0 and above"),
    column("steps", WHOLE, "optimizer steps", unit="steps", values="0 and above"),
    column("seconds", REAL, "duration of the training or of the method", unit="s", direction="lower"),
    column("peak_memory_bytes", WHOLE, "peak of GPU memory; null on a CPU", unit="bytes", direction="lower"),
]
