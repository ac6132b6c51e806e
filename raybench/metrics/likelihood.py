"""Membership attacks that account for how hard each sample is: LiRA and RMIA with the retrained models as references.

No retrained model saw a forget sample, so together they show what a model predicts for it without training on it. The
attacks test whether the scored model does better than that on forget than on unseen samples. A sample that is easy for
every model then carries no weight, unlike in attacks on the plain loss.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from raybench.metrics.framework.arrays import Array, Bools, Floats
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.attack_result import FPRS, curve, named_rates
from raybench.metrics.functions.leave_one_out import Variance
from raybench.metrics.functions.likelihood import LikelihoodAttack, lira, rmia
from raybench.metrics.functions.signals import scaled_confidence

_LIMITS: dict[str, Any] = {"direction": "match", "low": 0, "high": 1}
_CAUTION = (
    "With few retrained models (fewer than about 16) it gains little over `mia`: what they predict for a sample is "
    "itself an estimate from so few models."
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
    """Measure whether the model is surer of forget samples than retrained models are: `_auc` above 0.5 means memory.

    Match the retrained models. The likelihood ratio attack (LiRA, offline) scores a sample by how many standard
    deviations its scaled confidence lies above that of the retrained models, forget (members) against unseen. `_auc`
    and each `_tpr_at_fpr_*` (true positive rate at a false positive rate) are in 0..1; each retrained model is scored
    against the others.

    Intervals as in `mia`, with the retrained models fixed. Raise ValueError for fewer than 2 retrained models (3 with
    `per_example`).
    """
    return _rates(
        lambda signals, member: lira(signals, member, mode="offline", variance=variance, fprs=()),
        (forget_logits, forget_labels, shadow_forget_logits),
        (unseen_logits, unseen_labels, shadow_unseen_logits),
    )


@metric(
    source="Zarifzadeh et al. 2024, arXiv 2312.03262, algorithm 1 (offline)",
    cost="(retrained models + 1) * samples * log samples",
    caution=_CAUTION + " Scores are fractions of the unseen samples: with few of these, many scores tie.",
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
    """Measure whether confidence rose more on forget than on unseen samples: `_auc` above 0.5 means memory.

    Match the retrained models. The robust membership inference attack (RMIA, offline) divides a sample's confidence by
    its mean over the retrained models and scores it by the fraction of unseen samples whose ratio it exceeds by
    `gamma`; forget samples are the members. Parts, range and intervals as in `lira_offline`.

    Raise ValueError for fewer than 2 retrained models.
    """
    return _rates(
        lambda signals, member: rmia(
            signals, member, mode="offline", gamma=gamma, offline_scale=offline_scale, fprs=()
        ),
        (forget_logits, forget_labels, shadow_forget_logits),
        (unseen_logits, unseen_labels, shadow_unseen_logits),
    )


def _rates(
    attack: Callable[[Floats, Bools], LikelihoodAttack], *sides: tuple[Array, Array, Sequence[Array]]
) -> dict[str, Estimate]:
    """Attack the scored model; a side, members first, is its logits, its labels and the retrained models' logits."""
    counts = [len(shadows) for _, _, shadows in sides]
    if len(set(counts)) > 1:
        raise ValueError(
            f"every retrained model needs logits on both sets, got {counts[0]} models on forget and {counts[1]} on "
            "unseen"
        )
    signals = [
        np.stack([scaled_confidence(each, labels) for each in (logits, *shadows)]) for logits, labels, shadows in sides
    ]
    size = signals[0].shape[1]
    member = np.zeros((len(signals[0]), sum(side.shape[1] for side in signals)), dtype=bool)
    member[0, :size] = True  # row 0 is the scored model; the attack tests whether it was trained on the forget samples
    scores = attack(np.concatenate(signals, axis=1), member).scores[0]
    return named_rates(*curve([scores[:size], scores[size:]], None, FPRS))
