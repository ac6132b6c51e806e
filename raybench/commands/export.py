"""`raybench export`: write the checkpoint of a model of a finished run to a file of torch or safetensors."""

import os
import uuid
from contextlib import suppress
from pathlib import Path

from raybench.errors import UserError, unknown
from raybench.models.checkpoints import SAFETENSORS, read_weights, to_safetensors
from raybench.storage.runs import find_run
from raybench.storage.store import Store

TRAINED = ("original", "retrained")  # kinds of models that are exported like those of a method


def export(store: Store, run: str, method: str, out: Path, *, seed: int | None = None) -> str:
    """Write the model of a method with this seed (default: the first) to `out` and return a one-line description.

    `run`: NAME for the newest run of this name, or NAME/FINGERPRINT. `method` may also be `original` or `retrained`.
    The file is a state dict: in the format of safetensors if its name ends in `.safetensors`, else one for
    `torch.load(out, weights_only=True)`. It is replaced atomically. Raises UserError for an unknown run, method or
    seed, for a method without a model, and if `out` cannot be written.
    """
    run = find_run(store, run)
    trials = store.read_table(f"{run}/tables/trials.parquet", columns=["method", "reason"]).to_pylist()
    if method not in (methods := {row["method"] for row in trials}) | set(TRAINED):
        raise unknown(f"method of run {run!r}:", method, methods)
    rows = store.read_table(
        f"{run}/tables/models.parquet", columns=["model", "kind", "method", "seed", "original", "status"]
    ).to_pylist()
    final = [row for row in rows if row["method"] == method and row["status"] != "failed"]
    models = sorted((row["seed"], row["model"], row["original"]) for row in final)
    if seed is not None and models and all(number != seed for number, *_ in models):
        raise unknown(f"seed of {method} in run {run!r}:", seed, (str(number) for number, *_ in models))
    for number, model, original in models:
        weights = f"artifacts/models/{model}.pt"
        if seed in (None, number) and store.exists(weights):
            content = store.read_archive(weights)
            _write(out, to_safetensors(read_weights(content)) if out.suffix == SAFETENSORS else content)
            start = "" if method in TRAINED else f", from original {original}"
            return f"{out}: {method}, seed {number}{start}, of run {run} (model {model})"
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
        with suppress(OSError):  # a disk that is read-only refuses this too
            partial.unlink(missing_ok=True)
        raise UserError(f"--out {str(out)!r} cannot be written: {error.strerror}") from error
