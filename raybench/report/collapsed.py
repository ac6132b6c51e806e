"""Reference models that predict no better than a constant: nothing can be concluded from a comparison with them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from raybench.metrics.framework.arrays import Ints

CONFIDENCE = 1.96  # standard errors


def majority_accuracy(labels: Ints) -> float:
    """Return the accuracy of always predicting the most common label, of labels (N,) or (N, L)."""
    columns = labels.reshape(len(labels), -1)
    return float(np.mean([np.unique(column, return_counts=True)[1].max() / len(column) for column in columns.T]))


def at_majority(accuracies: Mapping[str, Sequence[float]], labels: Ints) -> list[str]:
    """Return a warning if reference models do not beat the most common label of the validation samples.

    `accuracies`: on the validation samples, by kind of model (original, retrained); `labels`: of these samples. A model
    counts unless it is better by more than the sampling error.
    """
    if not len(labels):
        return []
    majority = majority_accuracy(labels)
    limit = majority + CONFIDENCE * math.sqrt(majority * (1 - majority) / labels.size)
    counts = {kind: sum(value <= limit for value in values) for kind, values in accuracies.items() if len(values)}
    affected = [
        f"{count} of {len(accuracies[kind])} {'originals' if kind == 'original' else 'retrained models'}"
        for kind, count in counts.items()
        if count
    ]
    if not affected:
        return []
    return [
        f"warning: {' and '.join(affected)} predict no better than the most common label ({100 * majority:.1f} % of "
        "the validation samples). Nothing can be concluded from a comparison with them: train longer, or check "
        "train.lr, data.normalize and the labels"
    ]
