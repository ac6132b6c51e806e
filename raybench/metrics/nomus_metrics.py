"""The membership metrics of the evaluation: the loss attack, the forgetting score and NoMUS.

All read the same attack, so their numbers agree: the NoMUS protocol (logistic regression on the raw loss, 10
stratified splits) on sides cut to equal sizes. The protocol itself never cuts the non-members; where there are fewer
forgotten samples than unseen ones, "always non-member" would then look like a strong attack.
"""

import numpy as np

from raybench.metrics import accuracy as accuracies
from raybench.metrics import composite
from raybench.metrics.arrays import Array
from raybench.metrics.folds import Balance
from raybench.metrics.membership import AttackResult, logistic
from raybench.metrics.signals import loss
from raybench.metrics.spec import Estimate, metric

SOURCE = "Choi and Na 2023, arXiv 2311.02240"


@metric(source=SOURCE, direction="match", low=0, high=1)
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
    """Attack the loss, forget (members) against unseen: accuracy, AUC, true positive rates and efficacy, in 0..1.

    The score is -loss, so an AUC above 0.5 means that forgotten samples are still recognised. The ideal is the
    retrained models' value. AUC and rates use every sample, accuracy and efficacy sides of equal size.
    """
    member, non_member = loss(forget_logits, forget_labels), loss(unseen_logits, unseen_labels)
    return _named(logistic(member, non_member, splits=splits, test_fraction=test_fraction, seed=seed, balance=balance))


@metric(source=SOURCE + "; splits and intervals by identity are ours", direction="match", low=0, high=1)
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
    """Attack as `mia`, on folds that never cut a person, with intervals that count persons rather than images."""
    member, non_member = loss(forget_logits, forget_labels), loss(unseen_logits, unseen_labels)
    groups = (forget_groups, unseen_groups)
    return _named(logistic(member, non_member, splits=folds, seed=seed, groups=groups, balance=balance))


@metric(source=SOURCE + "; matching is ours", direction="match", low=0, high=1)
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
    """Attack as `mia`, on samples drawn so that both sides hold each label equally often.

    What remains is not due to a shift of labels between forget and unseen. ValueError where no label is on both sides.
    """
    member, non_member = loss(forget_logits, forget_labels), loss(unseen_logits, unseen_labels)
    match = (forget_labels, unseen_labels)
    return _named(logistic(member, non_member, splits=splits, test_fraction=test_fraction, seed=seed, match=match))


@metric(source=SOURCE, direction="match", low=0, high=0.5)
def forgetting_score(
    forget_logits: Array,
    forget_labels: Array,
    unseen_logits: Array,
    unseen_labels: Array,
    *,
    splits: int = 10,
    test_fraction: float = 0.1,
    seed: int = 0,
    balance: Balance = "smaller_side",
) -> Estimate:
    """Return |M - 0.5| for the accuracy M of `mia`, in 0..0.5; 0 is chance, the retrained models' value the target.

    The interval maps that of M, so it starts at 0 wherever M is compatible with chance.
    """
    member, non_member = loss(forget_logits, forget_labels), loss(unseen_logits, unseen_labels)
    attack = logistic(
        member, non_member, splits=splits, test_fraction=test_fraction, seed=seed, balance=balance
    ).accuracy
    ends = [composite.forgetting_score(end) for end in (attack.low, attack.high)]
    low = 0.0 if attack.low <= 0.5 <= attack.high else min(ends)
    return Estimate(composite.forgetting_score(attack.value), low, max(ends), attack.n, attack.interval)


@metric(source=SOURCE, direction="raise", low=0, high=1, ideal=1)
def nomus(
    forget_logits: Array,
    forget_labels: Array,
    unseen_logits: Array,
    unseen_labels: Array,
    test_logits: Array,
    test_labels: Array,
    *,
    weight: float = 0.5,
    splits: int = 10,
    test_fraction: float = 0.1,
    seed: int = 0,
    balance: Balance = "smaller_side",
) -> Estimate:
    """Return weight * test accuracy + (1 - weight) * (1 - 2 forgetting score), in 0..1.

    The two parts come from disjoint samples; their intervals are joined by the method of variance estimates recovery.
    """
    utility = accuracies.accuracy(test_logits, test_labels)
    score = forgetting_score(
        forget_logits,
        forget_labels,
        unseen_logits,
        unseen_labels,
        splits=splits,
        test_fraction=test_fraction,
        seed=seed,
        balance=balance,
    )
    value, pull = composite.nomus(utility.value, score.value, weight), 2 * (1 - weight)
    below = np.hypot(weight * (utility.value - utility.low), pull * (score.high - score.value))
    above = np.hypot(weight * (utility.high - utility.value), pull * (score.value - score.low))
    n = utility.n + score.n
    return Estimate(value, max(0.0, float(value - below)), min(1.0, float(value + above)), n, "mover")


def _named(attack: AttackResult) -> dict[str, Estimate]:
    rates = {f"_tpr_at_fpr_{fpr:g}": rate for fpr, rate in attack.tpr.items()}
    return {"_accuracy": attack.accuracy, "_auc": attack.auc, **rates, "_efficacy": attack.efficacy}
