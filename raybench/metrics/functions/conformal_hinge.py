"""What is left of the objective of conformal unlearning: by how much forget labels still lie inside their sets.

The loss of Shi et al. 2025 (arXiv 2501.19403, Eq. 8), read here on a finished model. It is the score and alpha that the
method was trained on, so it tells whether training converged, not whether the model forgot.
"""

from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array, as_logits_and_labels
from raybench.metrics.functions.softmax import log_softmax


def hinge(
    logits: Array,
    labels: Array,
    threshold: float,
    *,
    delta: float = 0.01,
    pairs: Literal["per_sample", "all_pairs"] = "per_sample",
) -> float:
    """Return the mean of max(threshold - (1 - p_y) + delta, 0), 0 where each label is out of its set by `delta`.

    `threshold` is on the scale of 1 - p (`-expm1(-q)` of a `lac` threshold). Above 1 - delta, which is normal for a
    memorizing network, 0 is out of reach: the floor is threshold + delta - 1. `all_pairs` averages over the labels of
    all samples, as released code does: its pull on a sample's own label is weaker by the number of samples. No samples
    give exactly 0.
    """
    if pairs not in ("per_sample", "all_pairs"):
        raise ValueError(f"unknown pairs {pairs!r} (allowed: per_sample, all_pairs)")
    if not as_array(logits, name="logits").size:
        return 0.0
    values, targets = as_logits_and_labels(logits, labels)
    if targets.ndim != 1:
        raise ValueError("the hinge needs one class per sample, labels (N,); these are multi-label")
    p = np.exp(log_softmax(values))
    own = p[:, targets] if pairs == "all_pairs" else p[np.arange(len(p)), targets]
    return float(np.maximum(threshold - (1 - own) + delta, 0).mean())
