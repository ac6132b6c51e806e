"""Questions about class labels."""

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array


def forgotten_classes(forget_labels: Array, retain_labels: Array) -> np.ndarray:
    """Return the classes of which every training sample is to be forgotten; none for labels (N, L)."""
    forget, retain = (as_array(given, name="labels", dtype=None) for given in (forget_labels, retain_labels))
    return np.setdiff1d(forget, retain) if forget.ndim == 1 else np.empty(0, dtype=np.int64)
