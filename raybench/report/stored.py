"""Read the tables and the manifest of a stored run as this version of raybench expects them, or say why it cannot."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from raybench.errors import UserError
from raybench.storage import tables
from raybench.storage.store import Store

MANIFEST = ("raybench", "started", "experiment", "packages", "host", "sweep")  # what a report needs of a manifest
KEYS = ("model", "kind", "method", "original", "seed", "split", "metric", "id", "value")  # no table does without
AGAIN = "run `raybench run` on its experiment again"


def read_run_table(store: Store, run: str, name: str) -> pa.Table:
    """Return a table of a run; columns that were added since it was written are null.

    Raise UserError for a missing table, and for one whose columns have other names or meanings.
    """
    content = read_if_exists(store, run, name)
    if content is None:
        raise UserError(f"run {run!r} on {store.shown} has no table {name!r}: {AGAIN}")
    return content


def read_if_exists(store: Store, run: str, name: str) -> pa.Table | None:
    """Return a table of a run as `read_run_table` does; None if the run has no such table."""
    key = f"{run}/tables/{name}.parquet"
    if not store.exists(key):
        return None
    content = store.read_table(key)
    version = (content.schema.metadata or {}).get(b"raybench_schema_version", b"unknown").decode()
    if version != tables.VERSION:
        raise UserError(
            f"{store.shown}/{key} has version {version} of the tables, and this raybench reads version "
            f"{tables.VERSION}: {AGAIN}, or read the file with pandas"
        )
    completed = tables.completed(name, content)
    if absent := [column for column in KEYS if column in set(completed.column_names) - set(content.column_names)]:
        raise UserError(f"{store.shown}/{key} lacks the columns {', '.join(absent)}: {AGAIN}")
    return completed


def cost_of_retraining(manifest: Mapping[str, Any], roles: Iterable[str]) -> str:
    """Return the cost of training one more retrained model, in words; `roles`: of all samples of the run."""
    recipe = manifest.get("retrained_recipe")
    return f"{recipe['epochs']} epochs x {list(roles).count('retain')} samples" if recipe else ""


def read_manifest(store: Store, run: str) -> Mapping[str, Any]:
    """Return the manifest of a run; raise UserError if it is missing or lacks what a report needs."""
    if not store.exists(f"{run}/manifest.json"):
        raise UserError(f"run {run!r} on {store.shown} has no manifest.json: {AGAIN}")
    manifest: Mapping[str, Any] = store.read_json(f"{run}/manifest.json")
    if absent := [key for key in MANIFEST if key not in manifest]:
        raise UserError(
            f"{store.shown}/{run}/manifest.json lacks {', '.join(absent)}: another version wrote it; {AGAIN}"
        )
    return manifest
