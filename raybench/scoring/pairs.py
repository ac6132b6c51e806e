"""Compare metric rows with those of the retrained models, whether the rows are independent or share pairs of models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raybench.metrics.framework.arrays import Floats
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.references import gap_to_pairs, mean_of_pairs
from raybench.metrics.functions.statistics import Gap, gap_to_reference

Row = Mapping[str, Any]


def gap_to_rows(rows: Sequence[Row], retrained: Sequence[Row], *, confidence: float = 0.95) -> Gap:
    """Return the gap of the mean value of `rows` (seeds of one method) to the rows of the retrained models.

    All rows are of one metric, split and setting, with values. Low and high are the prediction interval of one further
    retrained model. Rows of a metric that reads each retrained model (`by_retrained`) use `gap_to_pairs`: these models
    share their values in pairs.
    """
    if not has_pairs(rows[0]) or len(retrained) < 2:
        mean = float(np.mean([row["value"] for row in rows]))
        return gap_to_reference(mean, [row["value"] for row in retrained], confidence=confidence)
    columns = _columns(retrained)
    values = np.mean([_values(row)[columns] for row in rows], axis=0)
    return gap_to_pairs(values, _table(retrained, columns), confidence=confidence)


def mean_among(retrained: Sequence[Row]) -> Estimate:
    """Return the mean of the values among two or more retrained models, of a metric with `by_retrained`."""
    return mean_of_pairs(_table(retrained, _columns(retrained)))


def has_pairs(row: Row) -> bool:
    """Return whether the row is of a metric that compares a model with each retrained model."""
    return isinstance(row.get("by_retrained"), (list, tuple, np.ndarray))


def _values(row: Row) -> Floats:
    """Return the values against each retrained model (R,), NaN against the model itself."""
    return np.asarray(row["by_retrained"], dtype=np.float64)


def _columns(retrained: Sequence[Row]) -> list[int]:
    """Return the position of each retrained model among the values: where its own are missing."""
    return [int(np.flatnonzero(np.isnan(_values(row)))[0]) for row in retrained]


def _table(retrained: Sequence[Row], columns: Sequence[int]) -> Floats:
    """Return (N, N) values of each retrained model against each."""
    return np.array([_values(row)[list(columns)] for row in retrained])
