"""The membership inference attack that chooses a threshold for each class on retain and test samples."""

from typing import Literal

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.class_thresholds import called_members
from raybench.metrics.functions.intervals import complement, proportion
from raybench.metrics.functions.membership import mean_of_proportions
from raybench.metrics.functions.signals import LOW_FOR_MEMBERS, SignalName, named_signal


@metric(
    source="Song and Mittal 2021, arXiv 2003.10595; unused code of arXiv 2503.06991",
    direction="match",
    low=0,
    high=1,
    cost="samples * log samples",
    caution=(
        "Retain samples are members of every model, so the thresholds fit memorization in general; where retain and "
        "test samples separate fully, any threshold between them is equally good. Few samples of a class make its "
        "threshold arbitrary. Forget and unseen samples must be drawn from the same distribution."
    ),
    released=(
        "The released code gives a class without retain or test samples the threshold 0, which calls all its samples "
        "members; here it gets the threshold of all classes."
    ),
)
def mia_threshold_by_class(
    forget_logits: Array,
    forget_labels: Array,
    unseen_logits: Array,
    unseen_labels: Array,
    retain_logits: Array,
    retain_labels: Array,
    test_logits: Array,
    test_labels: Array,
    *,
    signal: SignalName = "modified_entropy",
) -> dict[str, Estimate]:
    """Measure whether forget samples look like retain samples of their class: `_accuracy` above 0.5 means memory.

    Match the retrained models. Each class has the threshold that best separates its retain (members) from its test
    samples (non-members). `_accuracy` is the balanced accuracy on forget (members) against unseen samples, `_efficacy`
    the fraction of forget samples called non-members; both in 0..1.

    Intervals treat the thresholds as fixed. Raise ValueError for labels (N, L).
    """
    side: Literal["low", "high"] = "low" if signal in LOW_FOR_MEMBERS else "high"
    forget, unseen = called_members(
        *(
            (named_signal(signal, logits, labels), labels)
            for logits, labels in (
                (retain_logits, retain_labels),
                (test_logits, test_labels),
                (forget_logits, forget_labels),
                (unseen_logits, unseen_labels),
            )
        ),
        member_side=side,
    )
    detected, rejected = proportion(forget), proportion(~unseen)
    return {"_accuracy": mean_of_proportions(detected, rejected), "_efficacy": complement(detected)}
