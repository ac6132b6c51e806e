"""Columns of a table of predictions as arrays."""

import numpy as np
import pyarrow as pa


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Return lists of one length as an array (N, length)."""
    rows = column.combine_chunks()
    values: np.ndarray = rows.flatten().to_numpy()
    return values.reshape(len(rows), -1)


def labels_of(predictions: pa.Table) -> np.ndarray:
    """Return class ids (N,), or for a multi-label task zeros and ones (N, L)."""
    label = predictions["label"]
    values: np.ndarray = matrix(predictions["labels"]) if label.null_count else label.to_numpy()
    return values
