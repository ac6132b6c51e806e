"""Test accuracy where whole classes are forgotten: of the classes that stay, and of those that are forgotten.

Accuracy on all test samples mixes both: an original that still knows the forgotten class looks more useful than a
retrained model, and a method that damages the other classes can look as useful.
"""

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.accuracy import correct_decisions
from raybench.metrics.functions.classes import forgotten_classes
from raybench.metrics.functions.intervals import proportion

SOURCE = (
    "TRA and TFA of Kim et al. 2025, arXiv 2503.06991; TA of class-wise forgetting in Shi et al. 2025, arXiv 2501.19403"
)
NO_CLASS = "no class is forgotten as a whole"


@metric(
    source=SOURCE,
    direction="match",
    low=0,
    high=1,
    splits=("test",),
    cost="samples * classes comparisons",
    caution=(
        "It does not measure memory. On the digits without 0s, originals get 0.99 on all test samples and retrained "
        "models 0.90; on the nine classes that stay both get 0.99."
    ),
)
def accuracy_retained_classes(logits: Array, labels: Array, forget_labels: Array, retain_labels: Array) -> Estimate:
    """Measure utility on the classes that stay: less than retraining means that unlearning damaged the model.

    The accuracy on the test samples of all classes but the forgotten ones, in 0..1. A class is forgotten if it is in
    the forget set and not in the retain set. The test accuracy of the leaderboard (TA) is this one where it exists.

    Interval: Clopper-Pearson. Raise ValueError where no class is forgotten, or no test sample is left.
    """
    return _accuracy(logits, labels, forget_labels, retain_labels, forgotten=False)


@metric(
    source=SOURCE,
    direction="match",
    low=0,
    high=1,
    splits=("test",),
    cost="samples * classes comparisons",
    caution="0 for every retrained model, which never predicts the class. A model that hides the class gets 0 too.",
)
def accuracy_forgotten_classes(logits: Array, labels: Array, forget_labels: Array, retain_labels: Array) -> Estimate:
    """Measure whether the model still predicts the forgotten classes on new images: above 0 means memory.

    The accuracy on the test samples of the forgotten classes, in 0..1. A class is forgotten if it is in the forget set
    and not in the retain set.

    Interval: Clopper-Pearson. Raise ValueError where no class is forgotten, or none has test samples.
    """
    return _accuracy(logits, labels, forget_labels, retain_labels, forgotten=True)


def _accuracy(logits: Array, labels: Array, forget_labels: Array, retain_labels: Array, *, forgotten: bool) -> Estimate:
    classes = forgotten_classes(forget_labels, retain_labels)
    if not len(classes):
        raise ValueError(NO_CLASS)
    chosen = np.isin(as_array(labels, name="labels", dtype=None), classes) == forgotten
    if not chosen.any():
        raise ValueError(f"no test sample has a {'forgotten' if forgotten else 'retained'} class")
    return proportion(correct_decisions(logits, labels)[chosen].mean(axis=1))
