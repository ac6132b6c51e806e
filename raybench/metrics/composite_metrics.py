"""The rows of scores made of other scores: tug-of-war, indiscernibility, completeness.

Each is 1 for a model that cannot be told from a retrained one, and hides in which part another one fails: the parts are
rows of their own. How far retrained models are from 1 among themselves is what a method can be asked for.
"""

import math
from collections.abc import Mapping

import numpy as np

from raybench.metrics import divergence
from raybench.metrics.accuracy import accuracy
from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions import composite
from raybench.metrics.functions.folds import Balance
from raybench.metrics.nomus_metrics import forgetting_score
from raybench.metrics.shadow_metrics import mia_svc
from raybench.metrics.unanchored import difference

_TUG_OF_WAR = "Zhao et al. 2024, arXiv 2406.01257"
_HIDES = "A product of near ones hides small differences: 0.99 in each factor gives 0.97. Read the parts. "


@metric(
    source=f"ToW of {_TUG_OF_WAR}",
    direction="raise",
    low=0,
    high=1,
    cost="samples * classes, for each retrained model",
    caution=_HIDES + "Where whole classes are forgotten the test set mixes them with the others: read `agl`.",
    released="The source compares with one retrained model; here the value is the mean over all of them.",
)
def tug_of_war(
    forget_logits: Array,
    forget_labels: Array,
    retain_logits: Array,
    retain_labels: Array,
    test_logits: Array,
    test_labels: Array,
    retrained_forget_logits: Array,
    retrained_retain_logits: Array,
    retrained_test_logits: Array,
) -> Estimate:
    """Return the product over forget, retain and test of 1 - |accuracy - a retrained model's|, in 0..1.

    Up to the noise floor, higher is better. The interval takes the accuracies to be independent, which is wider than
    two models on the same samples need, and holds the retrained model fixed (method of variance estimates recovery).
    """
    own = {
        "forget": accuracy(forget_logits, forget_labels),
        "retain": accuracy(retain_logits, retain_labels),
        "test": accuracy(test_logits, test_labels),
    }
    retrained = {
        "forget": accuracy(retrained_forget_logits, forget_labels),
        "retain": accuracy(retrained_retain_logits, retain_labels),
        "test": accuracy(retrained_test_logits, test_labels),
    }
    return _product(own, retrained)


@metric(
    source=f"ToW-MIA of {_TUG_OF_WAR}, on the SVC confidence attack of SalUn, arXiv 2310.12508",
    direction="raise",
    low=0,
    high=1,
    cost="two support vector machines for each retrained model: about 0.2 s",
    caution=_HIDES + "The attack is one-sided, see `mia_svc`.",
    released="As released: the efficacy of `mia_svc` stands for the accuracy on forget.",
    on_request=True,
)
def tug_of_war_mia(
    forget_logits: Array,
    forget_labels: Array,
    retain_logits: Array,
    retain_labels: Array,
    test_logits: Array,
    test_labels: Array,
    retrained_forget_logits: Array,
    retrained_retain_logits: Array,
    retrained_test_logits: Array,
    *,
    seed: int = 0,
) -> Estimate:
    """Return `tug_of_war` with the efficacy of the SVC attack in place of the accuracy on forget, in 0..1.

    Up to the noise floor, higher is better. Interval as there. Raise ValueError as `mia_svc` does.
    """

    def parts(forget: Array, retain: Array, test: Array) -> dict[str, Estimate]:
        attack = mia_svc(forget, forget_labels, retain, retain_labels, test, test_labels, seed=seed)
        kept = {"retain": accuracy(retain, retain_labels), "test": accuracy(test, test_labels)}
        return {"forget": attack["_efficacy"], **kept}

    return _product(
        parts(forget_logits, retain_logits, test_logits),
        parts(retrained_forget_logits, retrained_retain_logits, retrained_test_logits),
    )


@metric(
    source="the name is that of Cadet et al. 2024, arXiv 2410.01276; the attack is that of arXiv 2311.02240",
    direction="match",
    low=0,
    high=1,
    cost="10 logistic regressions of one feature",
    caution="An attack that is wrong more often than right lowers it as well: over-forgetting is no indiscernibility.",
)
def indiscernibility(
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
    """Return 1 - |2 M - 1| for the accuracy M of `mia`, in 0..1: 1 is chance, 0 an attack that is always right.

    Match the retrained models. The interval maps that of M, so it ends at 1 wherever M is compatible with chance.
    """
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
    value, low, high = (1 - 2 * end for end in (score.value, score.high, score.low))
    return Estimate(value, low, high, score.n, score.interval)


@metric(
    source="Cao and Yang 2015 (IEEE S&P); Nguyen et al. 2022, arXiv 2209.02299",
    direction="raise",
    low=0,
    high=1,
    splits=("forget", "test"),
    cost="samples * classes, for each retrained model",
    caution="Two models that are wrong in the same way agree; two retrained models do not agree fully either.",
)
def completeness_to_retrained(logits: Array, labels: Array, retrained_logits: Array) -> Estimate:
    """Return the Jaccard overlap of the labels predicted for each sample with a retrained model's, in 0..1.

    One class per sample, labels (N,): a / (2 - a) for agreement a, interval Clopper-Pearson. Labels (N, L): of all
    logits above 0, interval by the delta method; where that sees no spread, Clopper-Pearson on the samples. Up to the
    noise floor, higher is better. Raise ValueError where neither model predicts any label.
    """
    several = np.ndim(labels) == 2
    return divergence.completeness(logits, retrained_logits, prediction="threshold" if several else "argmax")


def _product(own: Mapping[str, Estimate], retrained: Mapping[str, Estimate]) -> Estimate:
    """Return the tug-of-war of independent shares by split; n counts the samples of all."""
    values = [{name: given.value for name, given in side.items()} for side in (own, retrained)]
    value = composite.tug_of_war(*values, splits=list(own))
    factors = [_agreement(given, retrained[name]) for name, given in own.items()]
    others = [math.prod(other.value for other in factors if other is not factor) for factor in factors]
    below = math.hypot(*((factor.value - factor.low) * rest for factor, rest in zip(factors, others)))
    above = math.hypot(*((factor.high - factor.value) * rest for factor, rest in zip(factors, others)))
    n = sum(given.n for given in own.values())
    return Estimate(value, max(0.0, value - below), min(1.0, value + above), n, "mover")


def _agreement(own: Estimate, retrained: Estimate) -> Estimate:
    """Return 1 - |own - retrained|; its interval maps that of the difference."""
    apart = difference(own, retrained)
    ends = [1 - abs(end) for end in (apart.low, apart.high)]
    high = 1.0 if apart.low <= 0 <= apart.high else max(ends)
    return Estimate(1 - abs(apart.value), min(ends), high, own.n, apart.interval)
