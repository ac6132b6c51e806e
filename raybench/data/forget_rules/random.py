"""Forget training samples at random: each class, and each class's mislabeled samples, in its share."""

import numpy as np

from raybench.data.forget_rules.amount import amount
from raybench.data.forget_rules.spec import Candidates, forget_rule
from raybench.data.reading.order import seed_for, stratified_order


@forget_rule(source="the usual random forgetting of a fraction, e.g. Shi et al. 2025, arXiv 2501.19403")
def random(
    candidates: Candidates, *, fraction: float | None = None, count: int | None = None, seed: int = 0
) -> np.ndarray:
    """Select `fraction` of the training samples, or `count` of them; returns sample ids.

    Every sample is equally likely. Single-label draws are balanced over classes and mislabeled samples, as the draws
    of the other roles are: forget and unseen then differ in nothing but membership, which is what an attack must find.
    """
    n = len(candidates.ids)
    count = amount("random", n, fraction=fraction, count=count)
    classes = candidates.labels if candidates.labels.ndim == 1 else np.zeros(n, dtype=np.int64)
    wrong = np.zeros(n, dtype=bool) if candidates.mislabeled is None else candidates.mislabeled
    generator = np.random.default_rng(seed_for("forget random", seed))
    return candidates.ids[stratified_order(classes * 2 + wrong, wrong, generator=generator)[:count]]
