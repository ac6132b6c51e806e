"""Forget the classes that are closest to a downstream set, as a model sees it."""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.data.forget_rules.amount import whole
from raybench.data.forget_rules.class_ import samples_of
from raybench.data.forget_rules.spec import Candidates, forget_rule
from raybench.errors import UserError


@forget_rule(source="ours, after the top lists of UUEF, arXiv 2503.06991, whose own ranking is not published")
def top_classes(candidates: Candidates, *, count: int, predictions: str | Path) -> np.ndarray:
    """Select the samples of the `count` classes that a model predicts most often for the images of a downstream set.

    `predictions` is a Parquet file, or a folder of them, in the schema of raybench's table of that name: a row per
    image, its `logits` over the classes of this dataset, all of one model. Classes rank by how often they have the
    largest logit; ties go to the smaller class id, among them all classes that are never predicted.
    """
    num_classes = len(candidates.class_names)
    count = whole("top_classes", "count", count, most=num_classes)
    votes = np.zeros(num_classes, dtype=np.int64)
    for predicted in predicted_classes(Path(str(predictions)).expanduser(), num_classes):
        votes += np.bincount(predicted, minlength=num_classes)
    if count > (votes > 0).sum():
        warnings.warn(
            f"forget rule 'top_classes': only {(votes > 0).sum()} of {num_classes} classes are ever predicted in "
            f"{predictions}; the rest of the {count} are those with the smallest ids",
            stacklevel=2,
        )
    ranked = np.argsort(-votes, kind="stable")
    return samples_of(ranked[:count].tolist(), candidates, rule="top_classes")


def predicted_classes(path: Path, num_classes: int) -> Iterator[np.ndarray]:
    """Yield the predicted class of every row, piece by piece, refusing rows of several models."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise UserError(f"forget rule 'top_classes': {str(path)!r} is no Parquet file, nor a folder that holds any")
    models: Counter[str] = Counter()
    for file in files:
        try:
            with pq.ParquetFile(file) as parquet:
                names = parquet.schema_arrow.names
                if "logits" not in names:
                    raise UserError(f"{file}: no column 'logits' (columns: {', '.join(names)})")
                wanted = [name for name in ("logits", "model") if name in names]
                for batch in parquet.iter_batches(batch_size=8192, columns=wanted):
                    if "model" in wanted:
                        models.update(batch.column("model").to_pylist())
                    yield largest(batch.column("logits"), num_classes, file)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file}: not a readable Parquet file: {error}") from error
    if len(models) > 1:
        raise UserError(
            f"forget rule 'top_classes': {path} holds predictions of {len(models)} models, "
            f"{', '.join(sorted(map(str, models)))}; give those of one, the original"
        )


def largest(column: pa.Array, num_classes: int, file: Path) -> np.ndarray:
    """Return the class of the largest logit of every row, (N,) int64; ties go to the smaller class id."""
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    if lengths.tolist() != [num_classes]:
        found = "missing" if np.isnan(lengths).any() else " or ".join(str(int(n)) for n in lengths)
        raise UserError(f"{file}: rows have {found} logits, but this dataset has {num_classes} classes")
    logits = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, num_classes)
    if np.isnan(logits).any():
        raise UserError(f"{file}: some logits are NaN")
    return logits.argmax(axis=1)
