"""Rows of the table `samples`: what one model makes of each sample of forget, test and unseen."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from raybench.metrics.functions import signals
from raybench.metrics.functions.conformal_sets import prediction_sets
from raybench.metrics.functions.knn import knn_predict
from raybench.metrics.functions.stored_signals import finite_rows
from raybench.storage import tables

SAMPLED = ("forget", "test", "unseen")  # splits whose samples get a row each
NUM_NEIGHBORS = 5


def sample_table(model: str, read: Callable[[str], Any], alpha: float) -> pa.Table:
    """Return the sample rows of a model; `read` returns its predictions on a split."""
    calibration, retain = read("calibration"), read("retain")
    return pa.concat_tables(_of_split(model, role, read(role), calibration, retain, alpha) for role in SAMPLED)


def _of_split(model: str, role: str, predictions: Any, calibration: Any, retain: Any, alpha: float) -> pa.Table:
    rows = len(predictions.ids)
    columns: dict[str, Any] = {
        "model": pa.array([model] * rows),
        "split": pa.array([role] * rows),
        "id": pa.array(predictions.ids),
    }
    if not all(finite_rows(part).all() for p in (predictions, calibration, retain) for part in (p.logits, p.features)):
        return tables.cast("samples", pa.table(columns))  # the model diverged: its rows stay empty
    losses = signals.loss(predictions.logits, predictions.labels)
    columns |= {"loss": pa.array(losses), "attack_score": pa.array(-losses)}
    if predictions.labels.ndim == 1:  # margins, prediction sets and votes are defined for one label per sample
        columns["margin"] = pa.array(signals.margin(predictions.logits, predictions.labels))
        columns["alpha"] = pa.array([alpha] * rows)
        held_out = (calibration.logits, calibration.labels)
        _, inside, _ = prediction_sets(predictions.logits, predictions.labels, *held_out, alpha)
        columns["in_prediction_set"] = pa.array(inside[0])
        k = min(NUM_NEIGHBORS, len(retain.ids))
        votes = knn_predict(retain.features, retain.labels, predictions.features, k=k)
        columns["neighbors_right"] = pa.array(np.asarray(votes) == predictions.labels)
    return tables.cast("samples", pa.table(columns))
