"""Forget the samples that a model has memorized most, or least, given precomputed scores."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.data.forget_rules.framework.amount import num_to_forget
from raybench.data.forget_rules.framework.spec import Candidates, forget_rule
from raybench.errors import UserError


@forget_rule(source="Zhao et al. 2024, arXiv 2406.01257; memorization after Feldman 2020, arXiv 1906.05271")
def hard(
    candidates: Candidates,
    *,
    scores: str | Path,
    fraction: float | None = None,
    count: int | None = None,
    order: Literal["highest", "lowest"] = "highest",
    column: str = "score",
    model: str | None = None,
) -> np.ndarray:
    """Select a `fraction` of the training samples, or `count` of them, with the highest (or lowest) score.

    `scores` is a Parquet file with columns `id` and `column`, for instance memorization: the probability that a model
    classifies the sample correctly when trained on it, minus that when not. Rows with the same id are averaged. The
    table `samples` of a run works too: `column: loss` with the model id of a retrained `model` measures how hard a
    sample is for a model that never saw it, `column: margin` with the original measures how confidently it was learned.
    Samples without a score are never selected; a warning counts them. Ties go to the smaller id.
    """
    if order not in ("highest", "lowest"):
        raise UserError(f"forget rule 'hard': order is {order!r} (allowed: highest, lowest)")
    number = num_to_forget("hard", len(candidates.ids), fraction=fraction, count=count)
    ids, values = mean_scores(Path(str(scores)).expanduser(), column, model)
    is_candidate = np.isin(ids, candidates.ids)
    ids, values = ids[is_candidate], values[is_candidate]
    if number > len(ids):
        raise UserError(
            f"forget rule 'hard': cannot forget {number} samples: {scores} has scores for only {len(ids)} of the "
            f"{len(candidates.ids)} training samples"
        )
    if len(ids) < len(candidates.ids):
        unscored = len(candidates.ids) - len(ids)
        warnings.warn(
            f"forget rule 'hard': {unscored} of {len(candidates.ids)} training samples have no score in {scores} and "
            "cannot be selected",
            stacklevel=2,
        )
    ranked = np.argsort(-values if order == "highest" else values, kind="stable")
    return ids[ranked[:number]]


def mean_scores(path: Path, column: str, model: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids in `path`, ascending, and the mean of `column` over the rows of each id (or of `model` only)."""
    if not path.is_file():
        raise UserError(f"forget rule 'hard': no file {str(path)!r} (Parquet with the columns id and {column})")
    try:
        names = pq.read_schema(path).names
        needed = ["id", column, *([] if model is None else ["model"])]
        for name in needed:
            if name not in names:
                raise UserError(f"{path}: no column {name!r} (columns: {', '.join(names)})")
        table = pq.read_table(path, columns=needed)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file: {error}") from error
    if model is not None:
        models = np.array(table.column("model").to_pylist(), dtype=object)
        table = table.filter(pa.array(models == model))
        if table.num_rows == 0:
            known = ", ".join(sorted({str(name) for name in models})[:5])
            raise UserError(f"{path}: no row has model {model!r} (models: {known or 'none'})")
    for name, kind in (("id", pa.types.is_integer), (column, is_number)):
        if not kind(table.schema.field(name).type) or table.column(name).null_count:
            raise UserError(
                f"{path}: column {name!r} should hold numbers in every row, found {table.schema.field(name)}"
            )
    values = table.column(column).to_numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(
            f"{path}: column {column!r} has values that are not finite; remove the rows of samples without a score"
        )
    ids, codes, counts = np.unique(table.column("id").to_numpy(), return_inverse=True, return_counts=True)
    return ids.astype(np.int64), np.bincount(codes, weights=values, minlength=len(ids)) / counts


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
