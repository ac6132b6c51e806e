"""The class that each model predicts for some forget samples: before unlearning, after it, and when retrained."""

import pandas as pd

from raybench.storage.predicted_arrays import matrix
from raybench.storage.store import Store

LIMIT = 64_000_000  # bytes of one file of predictions; reading one per method must not take minutes


def predicted_classes(store: Store, run: str, models: pd.DataFrame) -> pd.DataFrame | None:
    """Return `method`, `id`, `predicted` of the forget samples; None for a multi-label task or very large predictions.

    Each method is represented by its first run. `original` is the first original, `retrained` the first retrained
    model. `models`: the table of this name.
    """
    first = models[models.status != "failed"].sort_values(["kind", "original", "seed"], kind="stable")
    first = first.assign(method=first.method.where(first.kind == "unlearned", first.kind)).drop_duplicates("method")
    files: dict[str, list[str]] = {}
    for key in store.keys(f"{run}/tables/predictions", suffix=".parquet"):
        model, _, rest = key.rsplit("/", 1)[-1].partition("-")
        if rest.startswith("forget-"):
            files.setdefault(model, []).append(key)
    parts = []
    for row in first.itertuples():
        for key in files.get(row.model, ()):
            if store.filesystem.get_file_info(store.path(key)).size > LIMIT:
                return None
            content = store.read_table(key, columns=["id", "label", "logits"])
            if content["label"].null_count:
                return None
            logits = matrix(content["logits"])
            rows = {"method": row.method, "id": content["id"].to_numpy(), "predicted": logits.argmax(axis=1)}
            parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True) if parts else None
