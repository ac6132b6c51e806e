"""The membership attack with one threshold for each class, chosen on other samples than those it is tested on."""

import numpy as np

from raybench.metrics.framework.arrays import Array, Bools, Floats, as_vector
from raybench.metrics.framework.tensors import as_class_labels
from raybench.metrics.functions.membership import Side, best_cut

Labeled = tuple[Array, Array]  # a signal (N,) and class labels (N,)


def called_members(
    fit_members: Labeled, fit_others: Labeled, *tested: Labeled, member_side: Side = "low"
) -> tuple[Bools, ...]:
    """Return for each tested set whether its samples (N,) are called members.

    The threshold of a class has the best balanced accuracy between its samples in `fit_members` and in `fit_others`;
    a class that one of them lacks gets the threshold of all samples. Raise ValueError for labels (N, L) or empty sets.
    Reference: Song and Mittal 2021, arXiv 2003.10595, section 3.
    """
    sign = -1.0 if member_side == "low" else 1.0
    (members, member_classes), (others, other_classes) = (_read(part, sign) for part in (fit_members, fit_others))
    overall = best_cut(members, others)
    cuts: dict[int, float] = {}
    for label in np.intersect1d(member_classes, other_classes):
        cuts[int(label)] = best_cut(members[member_classes == label], others[other_classes == label])
    called = []
    for part in tested:
        scores, classes = _read(part, sign)
        called.append(scores >= np.array([cuts.get(int(label), overall) for label in classes]))
    return tuple(called)


def _read(part: Labeled, sign: float) -> tuple[Floats, np.ndarray]:
    signal = as_vector(part[0], name="signal")
    return sign * signal, as_class_labels(part[1], len(signal))
