"""Privacy of the samples that stay: does unlearning make retain samples easier to recognize as training samples?

A sample that looked ordinary among the forgotten ones may stand out once they are gone, and a method that repairs the
model on the retain set trains on it once more.
"""

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.attack_result import FPRS, curve, named_rates
from raybench.metrics.functions.signals import loss


@metric(
    source="effect of Carlini et al. 2022, arXiv 2206.10469; attack on losses as in `mia`",
    direction="match",
    low=0,
    high=1,
    cost="one sort of the retain and unseen samples",
    caution=(
        "One threshold for all samples: it tells little about a single sample. Retain and unseen samples must be drawn "
        "from the same distribution. Every retrained model was trained on the retain set, so no attack here can use "
        "models without these samples."
    ),
)
def retain_exposure(
    retain_logits: Array, retain_labels: Array, unseen_logits: Array, unseen_labels: Array
) -> dict[str, Estimate]:
    """Measure whether losses reveal retain samples: above the original, unlearning cost their privacy.

    Parts, in 0..1: `_auc`, the area under the ROC curve of -loss of retain (members) against unseen samples, 0.5 means
    chance; `_tpr_at_fpr_*`, the fraction of retain samples found at that false positive rate. Retrained models show
    what leaving the forget set out costs by itself.

    Intervals: DeLong for the AUC, for the rates as in `mia`.
    """
    scores = [-loss(retain_logits, retain_labels), -loss(unseen_logits, unseen_labels)]
    return named_rates(*curve(scores, None, FPRS))
