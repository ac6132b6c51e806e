"""The error of a regression done by a classifier, for example of ages whose classes are years or decades."""

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, as_logits_and_labels
from raybench.metrics.framework.row_wise import row_wise
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.intervals import bounded_mean
from raybench.metrics.functions.softmax import log_softmax


@metric(
    source="DEX, Rothe et al. 2015 (ICCV workshops) and 2018 (IJCV 126)",
    direction="match",
    low=0,
    splits=("forget", "test", "retain", "unseen"),
    cost="samples * classes exponentials",
    caution=(
        "A flat softmax predicts the middle, however it ranks the classes: with ages of 0 to 100 years, each true one "
        "ranked first by 2 nats, the accuracy is 1 and the error 23.9 years; with equal logits it is 25.5."
    ),
)
def mean_absolute_error(logits: Array, labels: Array, class_values: np.ndarray) -> Estimate:
    """Measure how far predicted numbers are from the true ones: a smaller error on forget than retraining means memory.

    The mean of |expected value - true value| over samples, in the unit of the class names, 0 and above. The expected
    value is the softmax-weighted sum of the numbers (C,) that the classes are named after.

    Interval: Student's t. Raise ValueError for labels (N, L), and where class names are not numbers.
    """
    if np.ndim(labels) != 1:
        raise ValueError("a mean absolute error needs one class per sample, labels (N,)")
    return bounded_mean(_absolute_errors(logits, labels, class_values))


@row_wise
def _absolute_errors(logits: Array, labels: Array, class_values: Array) -> Floats:
    scores, targets = as_logits_and_labels(logits, labels)
    values = np.asarray(class_values, dtype=np.float64)
    if len(values) != scores.shape[1]:
        raise ValueError(f"{scores.shape[1]} logits, but {len(values)} class names")
    expected = np.exp(log_softmax(scores)) @ values
    errors: Floats = np.abs(expected - values[targets])
    return errors
