"""Membership inference attacks on the scored model alone: can forget samples be separated from samples never seen?

`mia` is the attack of the NoMUS protocol: a logistic regression on the raw loss, 10 stratified splits, on sides cut to
equal size. The protocol itself never cuts the non-members; where there are fewer forget than unseen samples, "always
non-member" would then look like a strong attack. `mia_svc` is the attack that the SalUn family reports.

No shadow model is trained. Forget and unseen samples must be drawn from the same distribution, or the attacks detect
the shift instead; the value of the retrained models shows how large that effect is.
"""

from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, take
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.attack_result import named_estimates
from raybench.metrics.functions.folds import Balance, shuffled_rows
from raybench.metrics.functions.membership import logistic, threshold
from raybench.metrics.functions.signals import LOW_FOR_MEMBERS, SignalName, loss, named_signal
from raybench.metrics.functions.svc_attack import svc

_SOURCE = "Choi and Na 2023, arXiv 2311.02240"


@metric(
    source=_SOURCE,
    direction="match",
    low=0,
    high=1,
    cost="`splits` logistic regressions of one feature, a few passes over the samples each; one sort",
    caution=(
        "It uses one threshold: losses of 3 +- 0.2 against 3 +- 1.2 give an accuracy and an AUC of 0.50. A rate at "
        "0.001 false positives needs 1,000 unseen samples; with fewer it is the rate at zero false positives."
    ),
    released=(
        "The paper cuts only members (`balance: truncate_members`), which is the same where there are more members. "
        "With 120 members and 480 others of the same distribution its accuracy is 0.80 instead of 0.50."
    ),
)
def mia(
    forget_logits: Array,
    forget_labels: Array,
    unseen_logits: Array,
    unseen_labels: Array,
    *,
    splits: int = 10,
    test_fraction: float = 0.1,
    seed: int = 0,
    balance: Balance = "smaller_side",
) -> dict[str, Estimate]:
    """Measure whether losses reveal forget samples: `_auc` 0.5 means chance, higher that the model still remembers.

    Match the retrained models. A logistic regression on the loss separates forget samples (members) from unseen ones.
    All parts are in 0..1:

    - `_accuracy`: of the attack on held-out samples, mean over `splits`, sides of equal size.
    - `_auc`: area under the ROC curve of -loss over all samples.
    - `_tpr_at_fpr_*`: true positive rate at that false positive rate, over all samples.
    - `_efficacy`: the fraction of held-out forget samples classified as non-members.

    Intervals: corrected resampled t for accuracy and efficacy, DeLong for the AUC; for the rates the
    exact one of the members and order statistics of the non-members.
    """
    member, non_member = loss(forget_logits, forget_labels), loss(unseen_logits, unseen_labels)
    return named_estimates(
        logistic(member, non_member, splits=splits, test_fraction=test_fraction, seed=seed, balance=balance)
    )


@metric(
    source=_SOURCE + "; splits and intervals by identity are defined by raybench",
    direction="match",
    low=0,
    high=1,
    cost="as `mia`, with `folds` instead of `splits`",
    caution="It weights images, not people: a person with ten times as many images has ten times the weight.",
    released=(
        "The paper splits images and reports no interval. With 100 people per side and 10 images each (log losses with "
        "a standard deviation of 0.9 between and 0.5 within people) and no members, an interval that counts images "
        "(`mia`) contains the true AUC of 0.5 in 50 % of 300 draws, this one in 95 %."
    ),
)
def mia_by_identity(
    forget_logits: Array,
    forget_labels: Array,
    forget_groups: Array,
    unseen_logits: Array,
    unseen_labels: Array,
    unseen_groups: Array,
    *,
    folds: int = 10,
    seed: int = 0,
    balance: Balance = "smaller_side",
) -> dict[str, Estimate]:
    """Measure `mia` if several samples belong to one person; its parts have the same meaning.

    All images of a person are in the same fold, and intervals count people rather than images.
    """
    member, non_member = loss(forget_logits, forget_labels), loss(unseen_logits, unseen_labels)
    groups = (forget_groups, unseen_groups)
    return named_estimates(logistic(member, non_member, splits=folds, seed=seed, groups=groups, balance=balance))


@metric(
    source=_SOURCE + "; matching is defined by raybench",
    direction="match",
    low=0,
    high=1,
    cost="as `mia`, on the samples that are kept",
    caution=(
        "Other shifts remain (MUCAC has 9.6 images of a forgotten person and 1.5 of an unseen one). Where a whole "
        "class is forgotten it compares within that class: on digits without 3s it detects nothing, an AUC of 0.51 "
        "for originals and 0.53 for retrained models, where `mia` gives 0.57 and 0.05."
    ),
    released=(
        "Unmatched, an attack reads the label. A model that always predicts not male, on as many images as MUCAC has "
        "(26 % of 10,183 forgotten and 52 % of 2,002 unseen ones are male): accuracy 0.63 unmatched, 0.47 matched."
    ),
)
def mia_label_matched(
    forget_logits: Array,
    forget_labels: Array,
    unseen_logits: Array,
    unseen_labels: Array,
    *,
    splits: int = 10,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Measure `mia` without the effect of labels: what remains above the retrained models is not due to a label shift.

    Samples are drawn so that both sides contain each label equally often; parts as in `mia`. Raise ValueError where
    no label occurs on both sides.
    """
    member, non_member = loss(forget_logits, forget_labels), loss(unseen_logits, unseen_labels)
    match = (forget_labels, unseen_labels)
    return named_estimates(
        logistic(member, non_member, splits=splits, test_fraction=test_fraction, seed=seed, match=match)
    )


@metric(
    source="SVC attack of SalUn (Fan et al. 2024, arXiv 2310.12508) as in Shi et al. 2025, arXiv 2501.19403",
    direction="match",
    low=0,
    high=1,
    protocol="released",
    cost="0.1 s at any number of samples",
    caution=(
        "One-sided: it also rises for forget samples that the model was trained to get wrong, so more is not better. "
        "With fewer retain than test samples the classifier favors non-member."
    ),
    released=(
        "This is the protocol as released. Shi et al. report 1 - efficacy, the fraction classified as member. The "
        "modified entropy in that family's code is another signal: it is the same for every label of a sample (see "
        "`modified_entropy` in raybench.metrics.functions.signals)."
    ),
)
def mia_svc(
    forget_logits: Array,
    forget_labels: Array,
    retain_logits: Array,
    retain_labels: Array,
    test_logits: Array,
    test_labels: Array,
    *,
    signal: SignalName = "confidence",
    C: float = 3.0,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Measure how many forget samples look never trained on: `_efficacy` below retraining means memory.

    Above the retrained models means over-forgetting. A support vector machine learns, from one signal, to separate
    retain samples (members; as many as there are test samples, drawn by `seed`) from all test samples. `_efficacy` is
    the fraction of forget samples that it classifies as non-members, `_accuracy` its accuracy on the samples that it
    was fitted on; both in 0..1.

    Intervals treat the classifier as fixed. Raise ValueError where all signals are equal, for empty sets, and for the
    entropy of labels (N, L).
    """
    rows = np.sort(shuffled_rows(len(retain_logits), seed)[: len(test_logits)])
    member = named_signal(signal, take(retain_logits, rows), take(retain_labels, rows))
    non_member = named_signal(signal, test_logits, test_labels)
    if min(member.min(), non_member.min()) == max(member.max(), non_member.max()):
        raise ValueError(f"the {signal} of all samples is {member[0]:g}, so members and non-members are inseparable")
    attack = svc(member, non_member, named_signal(signal, forget_logits, forget_labels), C=C)
    return {"_efficacy": attack.efficacy, "_accuracy": attack.accuracy}


@metric(
    source="Song and Mittal 2021, arXiv 2003.10595; one held-out threshold for all classes is defined by raybench",
    direction="match",
    low=0,
    high=1,
    cost="samples * log samples",
    caution=(
        "Forget and unseen samples must be drawn from the same distribution, or the attack detects the shift instead. "
        "Where the signal is weak the best threshold is arbitrary, and so is `_efficacy`: read the AUC."
    ),
    released=(
        "The paper chooses a threshold for each class, on shadow models. Code that chooses it on the very samples that "
        "it reports on gets 0.56 on noise, with 50 samples per side, instead of 0.50."
    ),
)
def mia_threshold(
    forget_logits: Array,
    forget_labels: Array,
    unseen_logits: Array,
    unseen_labels: Array,
    *,
    signal: SignalName = "modified_entropy",
    folds: int = 5,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Measure whether one signal reveals forget samples: `_auc` 0.5 means chance, higher that the model remembers.

    Match the retrained models. One threshold separates forget (members) from unseen samples; each fold is classified
    with the threshold of the others. Low entropies and losses, high confidences and margins indicate members. Parts as
    in `mia`, except that `_accuracy` is the balanced accuracy.

    Raise ValueError for fewer samples on a side than folds, and for the entropy of labels (N, L).
    """
    member = named_signal(signal, forget_logits, forget_labels)
    non_member = named_signal(signal, unseen_logits, unseen_labels)
    side: Literal["low", "high"] = "low" if signal in LOW_FOR_MEMBERS else "high"
    return named_estimates(threshold(member, non_member, folds=folds, seed=seed, member_side=side))
