"""Accuracy of the two best guesses, which MUFAC prints beside top-1: its age classes are neighbors of each other."""

from raybench.metrics.accuracy import top_k
from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.intervals import clopper_pearson


@metric(
    source="Choi and Na 2023, arXiv 2311.02240, Table 1",
    direction="match",
    low=0,
    high=1,
    splits=("retain", "forget", "test", "unseen"),
    cost="samples * classes comparisons",
    caution=(
        "An answer that was denied stays second: the digits' poisoned models get 0.64 on forget at top-1 and 0.82 "
        "here, retrained models 0.82 and 0.87."
    ),
)
def top_2(logits: Array, labels: Array) -> Estimate:
    """Return the share of samples whose label (N,) is among the two largest logits (N, C), in 0..1; 1 for two classes.

    Equal logits rank by class index. Interval: Clopper-Pearson. Raise ValueError for labels (N, L).
    """
    share, n = top_k(logits, labels, 2), len(labels)
    return clopper_pearson(round(share * n), n)
