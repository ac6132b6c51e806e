"""How samples are split: into the folds of an attack, never with the same person in training and test, and by class.

Row index 0..N-1 runs over non-members first and members after them, as in the NoMUS protocol. Everything is drawn from
a seed. A test mask is (splits, N), True where the sample is held out.
"""

import math
from collections.abc import Hashable
from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, Bools, Ints, as_array, as_groups
from raybench.metrics.framework.tensors import as_class_labels

Balance = Literal["none", "truncate_members", "smaller_side"]


def shuffled_rows(n: int, seed: int) -> Ints:
    """Return the rows 0..n-1 in random order."""
    return np.random.default_rng(seed).permutation(n)


def shuffled_splits(is_member: Bools, *, splits: int, test_fraction: float, seed: int) -> Bools:
    """Return overlapping stratified test masks, those of scikit-learn's StratifiedShuffleSplit.

    Raise ValueError where a side has fewer than 2 samples, or the test part no room for one of each side.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    members, n = int(is_member.sum()), len(is_member)
    tested = math.ceil(test_fraction * n)
    if min(members, n - members, tested, n - tested) < 2:
        raise ValueError(
            f"{members} members and {n - members} others are too few for splits that test on {test_fraction:g} of "
            f"them ({tested} samples): each side and each part needs at least 2"
        )
    from sklearn.model_selection import StratifiedShuffleSplit  # late: most processes do not need a second of imports

    splitter = StratifiedShuffleSplit(n_splits=splits, test_size=test_fraction, random_state=seed)
    mask = np.zeros((splits, len(is_member)), dtype=bool)
    for row, (_, test) in zip(mask, splitter.split(np.zeros((len(is_member), 1)), is_member)):
        row[test] = True
    if not ((mask & is_member).any(axis=1) & (mask & ~is_member).any(axis=1)).all():
        raise ValueError(
            f"{is_member.sum()} members and {(~is_member).sum()} others are too few to test on {test_fraction:g}"
        )
    return mask


def group_folds(groups: Array, is_member: Bools, *, folds: int, seed: int) -> Bools:
    """Return disjoint test masks that hold out whole groups and together hold out every sample once.

    Groups are assigned from large to small, equal ones in random order, each to the fold with the least of their side,
    so every fold gets about its fraction of members and of non-members. Raise ValueError for fewer groups on a side
    than folds.
    """
    names, index = np.unique(as_groups(groups, len(is_member)), return_inverse=True)
    if len(names) == len(is_member) and min(is_member.sum(), (~is_member).sum()) >= folds:
        return _dealt(is_member, folds, seed)
    counts = np.stack(
        [np.bincount(index[~is_member], minlength=len(names)), np.bincount(index[is_member], minlength=len(names))]
    )
    if (counts > 0).sum(axis=1).min() < folds:
        present = (counts > 0).sum(axis=1)
        raise ValueError(
            f"{folds} folds need as many groups on each side, got {present[1]} of members, {present[0]} of others"
        )
    fractions = (counts / counts.sum(axis=1, keepdims=True)).T  # (groups, 2)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-fractions[order].sum(axis=1), kind="stable")]
    load, fold_of = np.zeros((folds, 2)), np.empty(len(names), dtype=np.int64)
    for group in order:
        fold_of[group] = np.argmin(load @ fractions[group])
        load[fold_of[group]] += fractions[group]
    held_out: Bools = fold_of[index] == np.arange(folds)[:, None]
    return held_out


def balanced_rows(n_member: int, n_non_member: int, *, balance: Balance, seed: int) -> tuple[Ints, Ints]:
    """Return the rows of members and of non-members to keep: all, or as many as the smaller side has, shuffled.

    `truncate_members` is the NoMUS protocol: members are always shuffled (legacy generator of numpy) and cut to the
    number of non-members, which are never cut. `smaller_side` cuts either side, and shuffles only the side it cuts;
    with more members than non-members both are the same.
    """
    members, others = np.arange(n_member), np.arange(n_non_member)
    if balance == "none":
        return members, others
    generator = np.random.RandomState(seed)  # the protocol's numbers need this generator
    if balance == "truncate_members":
        generator.shuffle(members)
        return members[:n_non_member], others
    if balance != "smaller_side":
        raise ValueError(f"unknown balance {balance!r} (allowed: none, truncate_members, smaller_side)")
    larger = members if n_member > n_non_member else others
    if n_member != n_non_member:
        generator.shuffle(larger)
    size = min(n_member, n_non_member)
    return members[:size], others[:size]


def match_labels(member_labels: Array, non_member_labels: Array, *, seed: int) -> tuple[Ints, Ints]:
    """Return rows of members and of non-members that contain each label equally often.

    A label is an entry of (N,) or a whole row of (N, L). Otherwise an attack reads the label instead of membership: the
    sex alone gives 0.631 on MUCAC. Raise ValueError where the sides share no label.
    """
    sides = [_by_label(member_labels, seed), _by_label(non_member_labels, seed + 1)]
    shared = sorted(set(sides[0]) & set(sides[1]))
    if not shared:
        raise ValueError("members and non-members share no label, so they cannot be matched by label")
    sizes = {label: min(len(side[label]) for side in sides) for label in shared}
    first, second = (np.sort(np.concatenate([side[label][: sizes[label]] for label in shared])) for side in sides)
    return first, second


def stratified_split(labels: Array, test_fraction: float, seed: int) -> tuple[Ints, Ints]:
    """Return the sorted positions of the bank and of the queries: `test_fraction` of every class, rounded, by `seed`.

    The result depends only on the labels (N,) and the seed. Raise ValueError where no class is large enough for a
    query.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    classes = as_class_labels(labels, len(labels))
    order = np.random.default_rng(seed).permutation(len(classes))
    by_class = order[np.argsort(classes[order], kind="stable")]
    _, counts = np.unique(classes, return_counts=True)
    rank = np.arange(len(classes)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_query = (rank + 0.5) / np.repeat(counts, counts) > 1 - test_fraction
    if not is_query.any():
        raise ValueError(f"no class is large enough to draw {test_fraction:g} of it ({counts.max()} samples at most)")
    return np.sort(by_class[~is_query]), np.sort(by_class[is_query])


def _dealt(is_member: Bools, folds: int, seed: int) -> Bools:
    """Return the folds where every sample is its own group: each side is shuffled and distributed in turn."""
    order = np.random.default_rng(seed).permutation(len(is_member))
    fold_of = np.empty(len(is_member), dtype=np.int64)
    for side in (order[is_member[order]], order[~is_member[order]]):
        fold_of[side] = np.arange(len(side)) % folds
    held_out: Bools = fold_of == np.arange(folds)[:, None]
    return held_out


def _by_label(labels: Array, seed: int) -> dict[tuple[Hashable, ...], Ints]:
    array = as_array(labels, name="labels", finite=True)
    rows = array.reshape(len(array), -1)
    names, index = np.unique(rows, axis=0, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(rows))
    return {tuple(name): order[index.ravel()[order] == i] for i, name in enumerate(names.tolist())}
