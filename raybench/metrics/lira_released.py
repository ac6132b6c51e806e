"""The likelihood ratio attack (LiRA) with the settings of its released code, for comparison with reported numbers."""

from collections.abc import Sequence

import numpy as np

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.attack_result import FPRS, curve, named_rates
from raybench.metrics.functions.lira_released import Center, Form, Spread, offline_scores
from raybench.metrics.functions.signals import scaled_confidence


@metric(
    source="Carlini et al. 2022, arXiv 2112.03570, offline attack of the released code",
    direction="match",
    low=0,
    high=1,
    protocol="released",
    cost="(retrained models + 1) * samples",
    caution=(
        "A log density is two-sided: samples of which the model is less sure than every retrained model count as "
        "members too. Where 500 forget samples lie 2 sd below what 8 retrained models predict, the AUC is 0.83 here "
        "and 0.09 by `lira_offline`. With `variance: per_example` and few models the smallest spreads decide."
    ),
    released="This is the released form; `lira_offline` pools the variances within samples and is one-sided.",
)
def lira_offline_released(
    forget_logits: Array,
    forget_labels: Array,
    unseen_logits: Array,
    unseen_labels: Array,
    shadow_forget_logits: Sequence[Array],
    shadow_unseen_logits: Sequence[Array],
    *,
    center: Center = "median",
    variance: Spread = "fixed",
    form: Form = "log_density",
) -> dict[str, Estimate]:
    """Measure how unusual the confidence in forget samples is among retrained models: `_auc` 0.5 means chance.

    Match the retrained models. The likelihood ratio attack (LiRA, offline) scores a sample by minus the log density of
    its scaled confidence (`form: distance`: by the distance above the center) under a normal with the `center` and
    `variance` of the retrained models; `fixed` is one variance of all samples and models. Parts, range and intervals as
    in `lira_offline`.

    Raise ValueError without retrained models, or with fewer than 2 for `per_example`.
    """
    if len(shadow_forget_logits) != len(shadow_unseen_logits):
        raise ValueError(
            f"every retrained model needs logits on both sets, got {len(shadow_forget_logits)} models on forget and "
            f"{len(shadow_unseen_logits)} on unseen"
        )
    size = len(forget_logits)
    target = np.concatenate(
        [scaled_confidence(forget_logits, forget_labels), scaled_confidence(unseen_logits, unseen_labels)]
    )
    others = [
        np.concatenate([scaled_confidence(forget, forget_labels), scaled_confidence(unseen, unseen_labels)])
        for forget, unseen in zip(shadow_forget_logits, shadow_unseen_logits)
    ]
    scores = offline_scores(target, np.array(others), center=center, spread=variance, form=form)
    return named_rates(*curve([scores[:size], scores[size:]], None, FPRS))
