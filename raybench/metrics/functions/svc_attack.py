"""The attack of the SalUn family: a support vector machine on a signal of known members and non-members.

A point that occurs m times equals one point of weight m, so a rounded signal has a cost that does not grow with n. The
score is one-sided (the fraction of forget samples classified as non-member): over-forgetting raises it too.
"""

from collections.abc import Callable, Sequence

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, Ints
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.attack_result import FPRS, AttackResult, curve, larger_side, read_signal, stack
from raybench.metrics.functions.intervals import proportion


def svc(
    shadow_member: Array,
    shadow_non_member: Array,
    target: Array,
    *,
    C: float = 3.0,
    levels: int = 512,
    exact_below: int = 2000,
    fprs: Sequence[float] = FPRS,
) -> AttackResult:
    """Fit an RBF support vector machine (gamma 1 / F) on shadow signals (M,), (N,) or (., F), and classify targets.

    `efficacy` is the fraction of targets classified as non-member, as in the SalUn family; accuracy, AUC and rates are
    computed on the shadow data themselves, so they are optimistic.

    From `exact_below` shadow samples on, a single feature is rounded to `levels` steps of its range and equal points
    become one weighted point: the same classifier up to the rounding (attack accuracy within 0.002), with bounded cost
    at any n. Signals of at most `levels` distinct values stay exact.
    """
    features, is_member = stack(
        read_signal(shadow_member, "shadow_member"), read_signal(shadow_non_member, "shadow_non_member")
    )
    targets = read_signal(target, "target")
    if targets.shape[1] != features.shape[1]:
        raise ValueError(f"target has {targets.shape[1]} features, the shadow data have {features.shape[1]}")
    from sklearn.svm import SVC  # takes a second to import, which workers that only predict need not wait for

    machine = SVC(C=C, kernel="rbf", gamma="auto")
    if len(features) < exact_below:
        # members first, as released: the path of the solver, and so the last digit, depends on the order
        machine.fit(np.roll(features, is_member.sum(), axis=0), np.roll(is_member, is_member.sum()))
    else:
        features, targets = _rounded(features, levels), _rounded(targets, 8 * levels)
        values, index = _unique_rows(features)
        counts = np.stack(
            [
                np.bincount(index[~is_member], minlength=len(values)),
                np.bincount(index[is_member], minlength=len(values)),
            ]
        )
        side, row = np.nonzero(counts)
        machine.fit(values[row], side == 1, sample_weight=counts[side, row])
    decisions = _by_unique(machine.decision_function, features)
    accuracy = proportion((decisions > 0) == is_member)
    area, rates = curve([decisions[is_member], decisions[~is_member]], None, fprs)
    return AttackResult(
        _in_sample(accuracy),
        _in_sample(area),
        {fpr: _in_sample(rate) for fpr, rate in rates.items()},
        proportion(_by_unique(machine.decision_function, targets) <= 0),
        larger_side(is_member),
        np.empty(0),
    )


def _rounded(features: Floats, levels: int) -> Floats:
    if features.shape[1] > 1 or len(np.unique(features)) <= levels:
        return features
    low, step = features.min(), np.ptp(features) / (levels - 1)
    rounded: Floats = low + np.round((features - low) / step) * step
    return rounded


def _unique_rows(features: Floats) -> tuple[Floats, Ints]:
    if features.shape[1] == 1:  # much cheaper than axis=0
        values, index = np.unique(features[:, 0], return_inverse=True)
        return values[:, None], index
    values, index = np.unique(features, axis=0, return_inverse=True)
    return values, index.ravel()


def _by_unique(function: Callable[[Floats], Floats], features: Floats) -> Floats:
    values, index = _unique_rows(features)
    return function(values)[index]


def _in_sample(estimate: Estimate) -> Estimate:
    return estimate._replace(interval=f"{estimate.interval}, in sample")
