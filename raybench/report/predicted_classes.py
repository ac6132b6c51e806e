"""The class that each model predicts for some forget samples: before unlearning, after it, and when retrained."""

import pandas as pd

from raybench.storage.predicted_arrays import matrix
from raybench.storage.store import Store

LIMIT = 64_000_000  # bytes of one file of predictions; reading one per method must not take minutes


def split_files(store: Store, run: str, kind: str, role: str) -> dict[str, list[str]]:
    """Return the files of a split in the tables of a run, by model; `kind`: predictions, or signals of a large one."""
    files: dict[str, list[str]] = {}
    for key in store.keys(f"{run}/tables/{kind}", suffix=".parquet"):
        model, _, rest = key.rsplit("/", 1)[-1].partition("-")
        if rest.startswith(f"{role}-"):
            files.setdefault(model, []).append(key)
    return files


def predicted_classes(store: Store, run: str, models: pd.DataFrame) -> pd.DataFrame | None:
    """Return `method`, `id`, `predicted` of the forget samples; None for a multi-label task or very large predictions.

    Each method is represented by its first run. `original` is the first original, `retrained` the first retrained
    model. `models`: the table of this name.
    """
    first = models[models.status != "failed"].sort_values(["kind", "original", "seed"], kind="stable")
    first = first.assign(method=first.method.where(first.kind == "unlearned", first.kind)).drop_duplicates("method")
    files = {**split_files(store, run, "predictions", "forget"), **split_files(store, run, "signals", "forget")}
    parts = []
    for row in first.itertuples():
        for key in files.get(row.model, ()):
            if store.filesystem.get_file_info(store.path(key)).size > LIMIT:
                return None
            is_large = "/signals/" in key
            content = store.read_table(key, columns=["id", "label", "predicted_class" if is_large else "logits"])
            if content["label"].null_count:
                return None
            predicted = content["predicted_class"].to_numpy() if is_large else matrix(content["logits"]).argmax(axis=1)
            parts.append(pd.DataFrame({"method": row.method, "id": content["id"].to_numpy(), "predicted": predicted}))
    return pd.concat(parts, ignore_index=True) if parts else None
