"""Membership attacks that know how hard each sample is: LiRA and RMIA with the retrained models as reference models.

No retrained model saw a forget sample, so they tell what a model that was never trained on it makes of it; the attack
asks whether the model that is scored does better there than on unseen samples. A sample that is easy for everyone then
counts for nothing, which the attacks on the bare loss cannot see.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.attack_result import FPRS, curve
from raybench.metrics.functions.leave_one_out import Variance
from raybench.metrics.functions.likelihood import LikelihoodAttack, lira, rmia
from raybench.metrics.functions.signals import scaled_confidence

_LIMITS: dict[str, Any] = {"direction": "match", "low": 0, "high": 1}
_CAUTION = (
    "With few retrained models (below some 16) it gains little over `mia`: what the others make of a sample is itself "
    "an estimate from so many models."
)


@metric(
    source="Carlini et al. 2022, arXiv 2112.03570, section VI (offline, variances pooled)",
    cost="(retrained models + 1) * samples; less than a forward pass of one batch",
    caution=_CAUTION,
    **_LIMITS,
)
def lira_offline(
    forget_logits: Array,
    forget_labels: Array,
    unseen_logits: Array,
    unseen_labels: Array,
    shadow_forget_logits: Sequence[Array],
    shadow_unseen_logits: Sequence[Array],
    *,
    variance: Variance = "global",
) -> dict[str, Estimate]:
    """Attack scaled confidences against the retrained models' own, forget (members) against unseen: AUC and TPRs, 0..1.

    The score is how many standard deviations a sample lies above what models make of it that were not trained on it.
    Above 0.5, forgotten samples are still recognized; match the retrained models, each of which is scored by the
    others. Raise ValueError for fewer than 2 of them (3 with `per_example`). Intervals: DeLong; for rates exact ones.
    """
    found = _outside(
        lambda signals, member: lira(signals, member, mode="offline", variance=variance, fprs=()),
        (forget_logits, forget_labels, shadow_forget_logits),
        (unseen_logits, unseen_labels, shadow_unseen_logits),
    )
    return _rates(found)


@metric(
    source="Zarifzadeh et al. 2024, arXiv 2312.03262, algorithm 1 (offline)",
    cost="(retrained models + 1) * samples * log samples",
    caution=_CAUTION + " Scores are shares of the unseen samples: with few of these many tie.",
    **_LIMITS,
)
def rmia_offline(
    forget_logits: Array,
    forget_labels: Array,
    unseen_logits: Array,
    unseen_labels: Array,
    shadow_forget_logits: Sequence[Array],
    shadow_unseen_logits: Sequence[Array],
    *,
    gamma: float = 2.0,
    offline_scale: float = 0.3,
) -> dict[str, Estimate]:
    """Attack by how many unseen samples each one beats in confidence over the retrained models' mean: AUC, TPRs, 0..1.

    Forget samples are the members. Match the retrained models, each of which is scored by the others. Raise ValueError
    for fewer than 2 of them. Intervals as in `lira_offline`.
    """
    found = _outside(
        lambda signals, member: rmia(
            signals, member, mode="offline", gamma=gamma, offline_scale=offline_scale, fprs=()
        ),
        (forget_logits, forget_labels, shadow_forget_logits),
        (unseen_logits, unseen_labels, shadow_unseen_logits),
    )
    return _rates(found)


def _outside(
    attack: Callable[[np.ndarray, np.ndarray], LikelihoodAttack], *sides: tuple[Array, Array, Sequence[Array]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the target's scores on members and on non-members; each side is its logits, labels, shadows' logits."""
    signals = [
        np.stack([scaled_confidence(logits, labels) for logits in (own, *shadows)]) for own, labels, shadows in sides
    ]
    size = signals[0].shape[1]
    member = np.zeros((len(signals[0]), sum(side.shape[1] for side in signals)), dtype=bool)
    member[0, :size] = True  # the target is the first row, and on trial for the forget samples
    scores = attack(np.concatenate(signals, axis=1), member).scores[0]
    return scores[:size], scores[size:]


def _rates(scores: tuple[np.ndarray, np.ndarray]) -> dict[str, Estimate]:
    area, rates = curve(list(scores), None, FPRS)
    return {"_auc": area, **{f"_tpr_at_fpr_{fpr:g}": rate for fpr, rate in rates.items()}}
