"""The signals: what is stored of every sample of a split that is too large to be held, some 90 bytes each."""

from collections.abc import Callable
from typing import Any

import numpy as np

from raybench.metrics.framework.arrays import Array, Bools, as_array
from raybench.metrics.framework.row_wise import row_wise
from raybench.metrics.functions import accuracy, signals

SIGNALS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        accuracy.predicted_class,
        accuracy.true_rank,
        accuracy.correct_decisions,
        accuracy.decision_confidence,
        signals.loss,
        signals.confidence,
        signals.scaled_confidence,
        signals.margin,
        signals.correctness,
        signals.entropy,
        signals.modified_entropy,
    )
}


@row_wise
def finite_rows(values: Array) -> Bools:
    """Return which rows of an array (N, D) hold no NaN or infinity, (N,)."""
    return np.asarray(np.isfinite(as_array(values, dtype=None)).all(axis=1))
