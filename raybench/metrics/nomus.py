"""NoMUS and its parts: one number for utility and forgetting, from test accuracy and the accuracy of `mia`.

All read the same attack as `mia`, the NoMUS protocol on sides of equal size, so their values are consistent.
"""

import numpy as np

from raybench.metrics.accuracy import accuracy
from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions import composite
from raybench.metrics.functions.folds import Balance
from raybench.metrics.functions.membership import logistic
from raybench.metrics.functions.signals import loss

SOURCE = "Choi and Na 2023, arXiv 2311.02240"


@metric(
    source=SOURCE,
    direction="match",
    low=0,
    high=0.5,
    cost="as `mia`",
    caution=(
        "Below 0.025 it is noise at 1,500 samples per side, below 0.08 at 150 (95 % of 300 draws from the same "
        "distribution). Where a whole class is forgotten, retraining scores worst: digits without 3s, 0.44, and "
        "originals 0.025."
    ),
    released=(
        "The text omits the absolute value, the code takes it: 0.0152 and not -0.0152 for MUCAC's Advanced NegGrad. "
        "`balance: truncate_members` gives 0.30 instead of 0.04 for 120 members and 480 others of the same "
        "distribution."
    ),
)
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
    """Measure how well a loss attack separates forget from unseen samples: 0 means chance, 0.5 a perfect attack.

    Match the retrained models: they exceed 0 where the two sets differ by themselves. |M - 0.5| for the accuracy M of
    `mia`, in 0..0.5.

    The interval maps that of M, so it starts at 0 wherever M is compatible with chance.
    """
    member, non_member = loss(forget_logits, forget_labels), loss(unseen_logits, unseen_labels)
    attack = logistic(
        member, non_member, splits=splits, test_fraction=test_fraction, seed=seed, balance=balance
    ).accuracy
    ends = [composite.forgetting_score(end) for end in (attack.low, attack.high)]
    low = 0.0 if attack.low <= 0.5 <= attack.high else min(ends)
    return Estimate(composite.forgetting_score(attack.value), low, max(ends), attack.n, attack.interval)


@metric(
    source="the name is that of Cadet et al. 2024, arXiv 2410.01276; the attack is that of arXiv 2311.02240",
    direction="match",
    low=0,
    high=1,
    cost="10 logistic regressions of one feature",
    caution=(
        "An attack that is wrong more often than right lowers it as well: over-forgetting is not indiscernible either."
    ),
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
    """Measure how hard forget samples are to distinguish from unseen ones: 1 means chance, 0 a perfect attack.

    Match the retrained models. 1 - |2 M - 1| for the accuracy M of `mia`, in 0..1; equal to 1 - 2 * `forgetting_score`.

    The interval maps that of M, so it ends at 1 wherever M is compatible with chance.
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
    source=SOURCE,
    direction="raise",
    low=0,
    high=1,
    ideal=1,
    cost="as `mia`, and one accuracy",
    caution=(
        "It rewards collapse: always predicting young gets 0.90 with as many images as MUCAC has, retraining 0.89 as "
        "reported. Where a whole class is forgotten, the original model scores best: digits without 3s, originals "
        "0.97, retrained 0.50."
    ),
    released=(
        "The same formula; reported totals are cut after four digits, up to 0.0001 lower. `balance` as in "
        "`forgetting_score`."
    ),
)
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
    """Measure utility and forgetting in one number: higher is better, but a collapsed model can score high.

    The normalized machine unlearning score (NoMUS) is weight * test accuracy + (1 - weight) * (1 - 2 *
    `forgetting_score`), in 0..1.

    The two parts use disjoint samples; variance estimates recovery combines their intervals.
    """
    utility = accuracy(test_logits, test_labels)
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
    value, factor = composite.nomus(utility.value, score.value, weight), 2 * (1 - weight)
    below = np.hypot(weight * (utility.value - utility.low), factor * (score.high - score.value))
    above = np.hypot(weight * (utility.high - utility.value), factor * (score.value - score.low))
    n = utility.n + score.n
    return Estimate(value, max(0.0, float(value - below)), min(1.0, float(value + above)), n, "mover")
