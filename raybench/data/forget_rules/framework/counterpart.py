"""Draw the tuning request: a second forget set of the same kind and about the same size, disjoint from the first.

A sweep tunes hyperparameters on it, so that a search sees neither the samples that are reported nor the models that
they are compared with.
"""

from collections.abc import Callable

import numpy as np

from raybench.data.forget_rules.framework.spec import Candidates, Counterpart
from raybench.data.reading.order import seed_for, stratified_order
from raybench.errors import UserError

MAX_ORDERS = 100  # random orders of whole classes or groups that are tried
CLOSE_ENOUGH = 0.02  # deviation from the size of the forget set at which no further order is tried
MOST_OFF = 0.5  # of the size of the forget set
USE_SAME = "set sweep.tuning_request: same, which tunes on the reported forget set"


def draw_counterpart(kind: Counterpart, candidates: Candidates, forgotten: np.ndarray, *, seed: int) -> np.ndarray:
    """Return the ids of the tuning request, sorted int64, disjoint from the ids `forgotten`.

    `samples`: as many samples as are forgotten, drawn at random, stratified by class and by mislabeling as the rule
    `random` does. `classes`: whole classes (in a multi-label task, all other samples with any of the drawn labels).
    `groups`: whole groups; samples where there are no groups, or where the forget set splits one. Whole classes and
    groups are taken in random order until their size is closest to that of the forget set; of up to 100 orders the
    closest one counts. Raises UserError if there are too few samples, or if the closest size is more than half off.
    """
    rest = ~np.isin(candidates.ids, forgotten)
    labels, target = candidates.labels[rest], len(forgotten)
    generator = np.random.default_rng(seed_for("tuning request", seed))
    if target >= len(labels):
        raise UserError(
            f"sweep.tuning_request: separate needs {target} further samples, but only {len(labels)} are retained; "
            f"{USE_SAME}"
        )
    if kind == "classes" and labels.ndim == 2:
        present = np.flatnonzero(labels.any(axis=0))
        carries = labels[:, present] > 0

        def unions(order: np.ndarray) -> np.ndarray:
            totals: np.ndarray = np.logical_or.accumulate(carries[:, order], axis=1).sum(axis=0)
            return totals

        selected = carries[:, _closest("labels", unions, len(present), target, generator)].any(axis=1)
    elif kind == "classes":
        selected = _whole("classes", labels, target, generator)
    elif kind == "groups" and candidates.groups is not None and not len(candidates.split_groups(forgotten)):
        selected = _whole("groups (identities)", candidates.groups[rest], target, generator)
    else:
        classes = labels if labels.ndim == 1 else np.zeros(len(labels), dtype=np.int64)
        wrong = np.zeros(len(labels), dtype=bool) if candidates.mislabeled is None else candidates.mislabeled[rest]
        selected = stratified_order(classes * 2 + wrong, wrong, generator=generator)[:target]
    return np.sort(candidates.ids[rest][selected])


def _whole(name: str, values: np.ndarray, target: int, generator: np.random.Generator) -> np.ndarray:
    """Return which samples belong to the drawn classes or groups, bool (N,)."""
    _, codes, sizes = np.unique(values, return_inverse=True, return_counts=True)
    chosen = _closest(name, lambda order: np.cumsum(sizes[order]), len(sizes), target, generator)
    return np.isin(codes, chosen)


def _closest(
    name: str,
    totals: Callable[[np.ndarray], np.ndarray],
    num_units: int,
    target: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return the units of the random order whose leading ones come closest to `target` samples.

    `totals(order)`: the number of samples of the first 1, 2, ... units of an order.
    """
    best, off = np.empty(0, dtype=np.int64), np.inf
    for _ in range(MAX_ORDERS):
        order = generator.permutation(num_units)
        distances = np.abs(totals(order) - target)
        number = int(distances.argmin())
        if distances[number] < off:
            best, off = order[: number + 1], float(distances[number])
        if off <= CLOSE_ENOUGH * target:
            break
    if off > MOST_OFF * target:
        raise UserError(
            f"sweep.tuning_request: separate needs other whole {name} with about {target} samples, but none of the "
            f"{num_units} that are retained come closer than {off:.0f} samples; {USE_SAME}"
        )
    return best
