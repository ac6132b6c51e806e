"""Which classes an experiment forgets."""

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, as_array


def forgotten_classes(forget_labels: Array, retain_labels: Array) -> Floats:
    """Return the classes all of whose training samples are to be forgotten; none for labels (N, L)."""
    forget, retain = (as_array(labels, name="labels", dtype=None) for labels in (forget_labels, retain_labels))
    return np.setdiff1d(forget, retain) if forget.ndim == 1 else np.empty(0, dtype=np.int64)
