"""The attacks that learn what members look like from the model's own samples: SVC, conformal sets on it, a threshold.

No shadow network is trained. Known members are drawn from the retain set, the test set are the known non-members, and
the forget samples are asked. `mia_svc` is the number that the SalUn family prints; MIACR puts conformal sets around it.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, as_array, as_logits_and_labels
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.conformal_membership import membership_coverage_ratio, membership_probabilities
from raybench.metrics.functions.conformal_quantile import Rule, smallest_calibration
from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.functions.membership import threshold
from raybench.metrics.functions.signals import (
    confidence,
    correctness,
    entropy,
    loss,
    margin,
    modified_entropy,
    scaled_confidence,
)
from raybench.metrics.functions.svc_attack import svc
from raybench.metrics.nomus_metrics import attack_estimates

SignalName = Literal["confidence", "correctness", "entropy", "loss", "margin", "modified_entropy", "scaled_confidence"]
SIGNALS: dict[str, Callable[..., np.ndarray]] = {
    "confidence": confidence,
    "correctness": correctness,
    "entropy": lambda logits, labels: entropy(logits),
    "loss": loss,
    "margin": margin,
    "modified_entropy": modified_entropy,
    "scaled_confidence": scaled_confidence,
}
LOW_FOR_MEMBERS = ("entropy", "loss", "modified_entropy")
_LIMITS: dict[str, Any] = {"direction": "match", "low": 0}


@metric(
    source="SVC attack of SalUn (Fan et al. 2024, arXiv 2310.12508) as in Shi et al. 2025, arXiv 2501.19403",
    high=1,
    protocol="released",
    cost="0.1 s at any number of samples",
    caution=(
        "One-sided: it rises as well for forget samples that the model was made to get wrong, so more is not better. "
        "With fewer retain than test samples the machine leans toward non-member."
    ),
    released=(
        "This is the released protocol. Shi et al. print 1 - efficacy, the share called member. The modified entropy "
        "that the family's code holds is another signal (see `modified_entropy` of raybench.metrics.functions.signals)."
    ),
    **_LIMITS,
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
    """Return the share of forget samples that a support vector machine calls non-member, in 0..1, and its accuracy.

    It is fitted on one signal of retain samples (as many as there are test samples, drawn by `seed`) and of all test
    samples; `_accuracy` is its share of right answers on these, `_efficacy` the answer on forget. Match the retrained
    models. Intervals hold the machine fixed. Raise ValueError where all signals are equal, for empty sets, and for the
    entropy of labels (N, L).
    """
    rows = np.sort(_order(retain_logits, seed)[: len(test_logits)])
    member = _signal(signal, _rows(retain_logits, rows), _rows(retain_labels, rows))
    other = _signal(signal, test_logits, test_labels)
    if min(member.min(), other.min()) == max(member.max(), other.max()):
        raise ValueError(f"the {signal} of all samples is {member[0]:g}, so nothing tells members from non-members")
    attack = svc(member, other, _signal(signal, forget_logits, forget_labels), C=C)
    return {"_efficacy": attack.efficacy, "_accuracy": attack.accuracy}


@metric(
    source="MIACR, v1 of Shi et al. 2025, arXiv 2501.19403",
    high=2,
    cost="one support vector machine of at most 256 points for each alpha",
    caution=(
        "Secondary: where the attack is weak, nearly all sets hold both answers and every model's ratio is near 0. "
        "Read `_set_size` beside it: 2 decides nothing; below 1, sets are empty."
    ),
    released=(
        "Later code calibrates on held-out images labeled member (`calibration: holdout`). The sets of a model that "
        "has forgotten then lack `member` at rate alpha at most, by construction, and those of others at less: where "
        "the own logit of members is raised by 6 and that of others by 3 (4,000 retain, 2,000 test and hold-out, 1,000 "
        "forget samples, all forgotten), MIACR is 0.04 (set size 1.96) instead of 0.88 (1.04). `variant: "
        "member_excluded` counts empty sets too, which thresholds below 0.5 leave; `rule: numpy_higher` takes the next "
        "larger score."
    ),
    **_LIMITS,
)
def miacr(
    forget_logits: Array,
    forget_labels: Array,
    retain_logits: Array,
    retain_labels: Array,
    test_logits: Array,
    test_labels: Array,
    calibration_logits: Array,
    calibration_labels: Array,
    alpha: float,
    *,
    calibration: Literal["members", "holdout"] = "members",
    variant: Literal["singleton", "member_excluded"] = "singleton",
    rule: Rule = "exact",
    C: float = 3.0,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return MIACR, the share of forget samples whose conformal set is {non-member}, in 0..1; higher is forgotten more.

    The attack is fitted on the confidence of retain and test samples as `mia_svc`, but on at most half of the retain
    samples; the others calibrate it, so that sets miss a member at rate alpha. `_set_size` is the mean size (0..2),
    `_efficacy` the share called non-member at P <= 0.5, `_fake_share` the share of those with `member` in their set
    (absent where there are none). Match the retrained models. Intervals hold attack and threshold fixed:
    Clopper-Pearson. Raise ValueError for fewer calibration samples than alpha needs, and where all confidences agree.
    """
    if calibration not in ("members", "holdout"):
        raise ValueError(f"unknown calibration {calibration!r} (allowed: members, holdout)")
    order = _order(retain_logits, seed)
    if calibration == "members" and len(order) < 2:
        raise ValueError(f"calibration on members needs 2 retain samples or more, got {len(order)}")
    size = min(len(test_logits), len(order) // 2 if calibration == "members" else len(order))
    fitted, left = np.sort(order[:size]), np.sort(order[size:])
    known = (calibration_logits, calibration_labels)
    if calibration == "members":
        known = (_rows(retain_logits, left), _rows(retain_labels, left))
    asked = [confidence(forget_logits, forget_labels), confidence(*known)]
    if len(asked[1]) < smallest_calibration(alpha):
        raise ValueError(f"alpha {alpha} needs {smallest_calibration(alpha)} calibration samples or more")
    member = confidence(_rows(retain_logits, fitted), _rows(retain_labels, fitted))
    p = membership_probabilities(member, confidence(test_logits, test_labels), np.concatenate(asked), C=C)
    n = len(asked[0])
    found = membership_coverage_ratio(p[:n], p[n:], alpha=alpha, variant=variant, rule=rule)
    called = round(n * found.efficacy)
    least = 0 if found.threshold < 0.5 else 1  # every set holds as many answers, and at most one more
    wider = clopper_pearson(round(n * (found.set_size - least)), n)
    size_of_sets = Estimate(least + wider.value, least + wider.low, least + wider.high, n, wider.interval)
    estimates = {"": found.ratio, "_set_size": size_of_sets, "_efficacy": clopper_pearson(called, n)}
    if found.fake_share is not None:
        estimates["_fake_share"] = clopper_pearson(round(called * found.fake_share), called)
    return estimates


@metric(
    source="Song and Mittal 2021, arXiv 2003.10595; one cut for all classes, held out, is ours",
    high=1,
    cost="samples * log samples",
    caution=(
        "Forget and unseen samples must come from one law, else it tells the laws apart. Where the signal tells little "
        "the best cut lies anywhere, and `_efficacy` with it: read the AUC."
    ),
    released=(
        "The source cuts each class on its own, on shadow models. Code that takes the best cut of the very samples "
        "which it reports finds 0.56 on noise, 50 samples a side, instead of 0.50."
    ),
    **_LIMITS,
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
    """Attack one signal by one cut, forget (members) against unseen: balanced accuracy, AUC, TPRs, efficacy, in 0..1.

    Each fold is judged by the cut of the others. An AUC above 0.5 means that forgotten samples are still recognized:
    low entropies and losses, high confidences and margins speak for members. Match the retrained models. Raise
    ValueError for fewer samples on a side than folds, and for the entropy of labels (N, L).
    """
    member, other = _signal(signal, forget_logits, forget_labels), _signal(signal, unseen_logits, unseen_labels)
    side: Literal["low", "high"] = "low" if signal in LOW_FOR_MEMBERS else "high"
    return attack_estimates(threshold(member, other, folds=folds, seed=seed, member_side=side))


def _signal(name: SignalName, logits: Array, labels: Array) -> np.ndarray:
    if name not in SIGNALS:
        raise ValueError(f"unknown signal {name!r} (allowed: {', '.join(SIGNALS)})")
    scores, targets = as_logits_and_labels(logits, labels)
    if name == "entropy" and targets.ndim != 1:
        raise ValueError("the entropy needs one class per sample, labels (N,); these are multi-label")
    return SIGNALS[name](scores, targets)


def _order(logits: Array, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(logits))


def _rows(values: Array, rows: np.ndarray) -> np.ndarray:
    return as_array(values, dtype=None)[rows]
