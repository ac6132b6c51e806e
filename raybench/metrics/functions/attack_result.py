"""What every membership attack returns, and how it reads its signals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raybench.metrics.framework.arrays import Array, Bools, Floats, as_array
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.intervals import delong
from raybench.metrics.functions.roc import tpr_at_fprs

FPRS = (0.001, 0.01)


@dataclass(frozen=True)
class AttackResult:
    """The result of an attack.

    `efficacy` is the fraction of target samples classified as non-members (MIA-efficacy of SalUn).
    """

    accuracy: Estimate
    auc: Estimate
    tpr: dict[float, Estimate]  # at each false positive rate
    efficacy: Estimate
    chance: float  # accuracy of always predicting the larger side
    split_accuracy: Floats  # per split or fold; empty where there are none


def read_signal(values: Array, name: str) -> Floats:
    """Return a finite signal as (N, F)."""
    array = as_array(values, name=name, finite=True)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"{name} must have shape (N,) or (N, F) and not be empty, got {array.shape}")
    return array.reshape(len(array), -1)


def one_signal(values: Array, name: str) -> Floats:
    """Return a finite signal of one feature as (N,)."""
    array = read_signal(values, name)
    if array.shape[1] > 1:
        raise ValueError(f"{name} has {array.shape[1]} features: a threshold attack reads one")
    return array[:, 0]


def stack(member: Floats, non_member: Floats) -> tuple[Floats, Bools]:
    """Return features (N + M, F) and membership (N + M,), non-members first."""
    if member.shape[1] != non_member.shape[1]:
        raise ValueError(f"members have {member.shape[1]} features, non-members {non_member.shape[1]}")
    return np.concatenate([non_member, member]), np.repeat([False, True], [len(non_member), len(member)])


def curve(
    scores: list[Floats], sides: list[Floats] | None, fprs: Sequence[float]
) -> tuple[Estimate, dict[float, Estimate]]:
    """Return AUC and true positive rates, with intervals, of scores [member, non-member] and their groups."""
    first, second = sides if sides else (None, None)
    area = delong(scores[0], scores[1], member_groups=first, non_member_groups=second)
    return area, tpr_at_fprs(scores[0], scores[1], fprs, member_groups=first, non_member_groups=second)


def larger_side(is_member: Bools) -> float:
    """Return the accuracy of always predicting the larger side."""
    return float(max(is_member.mean(), 1 - is_member.mean()))


def named_rates(auc: Estimate, tpr: dict[float, Estimate]) -> dict[str, Estimate]:
    """Return AUC and true positive rates under the names of the parts of a metric."""
    return {"_auc": auc, **{f"_tpr_at_fpr_{fpr:g}": rate for fpr, rate in tpr.items()}}


def named_estimates(attack: AttackResult) -> dict[str, Estimate]:
    """Return accuracy, AUC, true positive rates and efficacy under the names of the parts of a metric."""
    return {"_accuracy": attack.accuracy, **named_rates(attack.auc, attack.tpr), "_efficacy": attack.efficacy}
