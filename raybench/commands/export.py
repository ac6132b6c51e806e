"""`raybench export`: the unlearned checkpoint of any method of a finished run, for the user's own model class."""

import os
import uuid
from pathlib import Path

from raybench.errors import UserError, unknown
from raybench.storage.store import Store


def export(store: Store, run: str, method: str, out: Path) -> str:
    """Write the model of the method's first final seed to `out`, whole or not at all; return one line about it.

    The file is a state dict that `torch.load(out, weights_only=True)` reads. Raises UserError for an unknown run or
    method, a method without a model, and a place that cannot be written.
    """
    key = f"{run}/tables/models.parquet"
    if not store.exists(key):
        raise unknown(f"finished run on {store.uri}:", run, store.runs())
    trials = store.read_table(f"{run}/tables/trials.parquet", columns=["method", "reason"]).to_pylist()
    if method not in (methods := {row["method"] for row in trials}):
        raise unknown(f"method of run {run!r}:", method, methods)
    models = store.read_table(key, columns=["model", "kind", "method", "seed"]).to_pylist()
    own = sorted((row["seed"], row["model"]) for row in models if (row["kind"], row["method"]) == ("unlearned", method))
    found = next(((seed, model) for seed, model in own if store.exists(f"artifacts/models/{model}.pt")), None)
    if found is None:
        reasons = [row["reason"] for row in trials if row["method"] == method and row["reason"]]
        gone = f"its weights are no longer on {store.uri}"
        raise UserError(
            f"method {method!r} of run {run!r} left no model: {reasons[0] if reasons and not own else gone}"
        )
    seed, model = found
    _write(out, store.read_bytes(f"artifacts/models/{model}.pt"))
    return f"{out}: {method}, seed {seed}, of run {run} (model {model})"


def _write(out: Path, content: bytes) -> None:
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        if out.is_dir():
            raise UserError(
                f"--out {str(out)!r} is a folder; name the file, for instance {str(out / 'unlearned.pt')!r}"
            )
        partial.write_bytes(content)
        os.replace(partial, out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"--out {str(out)!r} cannot be written: {error.strerror}") from error
