"""Forget a random subset of the training samples, stratified by class and by mislabeling."""

import numpy as np

from raybench.data.forget_rules.framework.amount import num_to_forget
from raybench.data.forget_rules.framework.spec import Candidates, forget_rule
from raybench.data.reading.order import seed_for, stratified_order


@forget_rule(source="the usual random forgetting of a fraction, e.g. Shi et al. 2025, arXiv 2501.19403")
def random(
    candidates: Candidates, *, fraction: float | None = None, count: int | None = None, seed: int = 0
) -> np.ndarray:
    """Select a `fraction` of the training samples, or `count` of them.

    Every sample is equally likely. Single-label draws are stratified by class and by mislabeling, as the draws of the
    other roles are, so that forget and unseen samples share a distribution and an attack can detect membership only.
    """
    n = len(candidates.ids)
    count = num_to_forget("random", n, fraction=fraction, count=count)
    classes = candidates.labels if candidates.labels.ndim == 1 else np.zeros(n, dtype=np.int64)
    wrong = np.zeros(n, dtype=bool) if candidates.mislabeled is None else candidates.mislabeled
    generator = np.random.default_rng(seed_for("forget random", seed))
    order: np.ndarray = stratified_order(classes * 2 + wrong, wrong, generator=generator)
    return np.asarray(candidates.ids[order[:count]])
