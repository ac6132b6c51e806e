"""`raybench export`: write the checkpoint of an unlearned model of a finished run to a file."""

import os
import uuid
from pathlib import Path

from raybench.errors import UserError, unknown
from raybench.storage.store import Store


def export(store: Store, run: str, method: str, out: Path) -> str:
    """Write the model of the method's first final seed to `out` and return a one-line description.

    The file is a state dict; load it with `torch.load(out, weights_only=True)`. It is replaced atomically. Raises
    UserError for an unknown run or method, for a method without a model, and if `out` cannot be written.
    """
    key = f"{run}/tables/models.parquet"
    if not store.exists(key):
        raise unknown(f"finished run on {store.shown}:", run, store.runs())
    trials = store.read_table(f"{run}/tables/trials.parquet", columns=["method", "reason"]).to_pylist()
    if method not in (methods := {row["method"] for row in trials}):
        raise unknown(f"method of run {run!r}:", method, methods)
    rows = store.read_table(key, columns=["model", "kind", "method", "seed", "original", "status"]).to_pylist()
    final = [row for row in rows if (row["kind"], row["method"]) == ("unlearned", method) and row["status"] != "failed"]
    models = sorted((row["seed"], row["model"], row["original"]) for row in final)
    for seed, model, original in models:
        weights = f"artifacts/models/{model}.pt"
        if store.exists(weights):
            _write(out, store.read_archive(weights))
            return f"{out}: {method}, seed {seed}, from original {original}, of run {run} (model {model})"
    errors = [row["reason"] for row in trials if row["method"] == method and row["reason"]]
    reason = errors[0] if errors and not models else f"its weights are no longer on {store.shown}"
    raise UserError(f"method {method!r} of run {run!r} has no model to export: {reason}")


def _write(out: Path, content: bytes) -> None:
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        if out.is_dir():
            raise UserError(f"--out {str(out)!r} is a folder; give a file, for instance {str(out / 'unlearned.pt')!r}")
        partial.write_bytes(content)
        os.replace(partial, out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"--out {str(out)!r} cannot be written: {error.strerror}") from error
