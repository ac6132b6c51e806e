"""Membership inference attacks: does a signal of a sample reveal whether the model was trained on it?

The attack of the NoMUS protocol is a logistic regression on the raw loss. One feature and a linear model amount to one
threshold, so the attack cannot detect a change of spread at equal means: read the AUC and the rate at low false
positives next to its accuracy. Compare with retrained models, not with 0.5: forget and unseen samples may differ by
themselves.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from raybench.metrics.framework.arrays import Array, Bools, Floats, as_groups
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.attack_result import (
    FPRS,
    AttackResult,
    curve,
    larger_side,
    one_signal,
    read_signal,
    stack,
)
from raybench.metrics.functions.folds import Balance, balanced_rows, group_folds, match_labels, shuffled_splits
from raybench.metrics.functions.intervals import complement, proportion, resampled_mean
from raybench.metrics.functions.logistic_regression import Solver, decision_values
from raybench.metrics.functions.roc import roc

Side = Literal["low", "high"]


def logistic(
    member: Array,
    non_member: Array,
    *,
    splits: int = 10,
    test_fraction: float = 0.1,
    seed: int = 0,
    groups: tuple[Array, Array] | None = None,
    match: tuple[Array, Array] | None = None,
    balance: Balance = "none",
    balance_seed: int = 42,
    standardize: bool = False,
    member_side: Side = "low",
    fprs: Sequence[float] = FPRS,
    solver: Solver = "newton",
) -> AttackResult:
    """Attack signals of members (M,) or (M, F) and non-members (N,) or (N, F) by L2 logistic regression, C = 1.

    Accuracy is the mean over random stratified splits. With `groups` (of members, of non-members) it comes from
    `splits` disjoint folds that keep groups whole, `test_fraction` is unused, and intervals allow for groups. `match`
    (labels of members, of non-members) first draws samples of equal labels; `balance` then equalizes the sizes for
    accuracy and efficacy, while AUC and rates use all samples.

    AUC and rates use a single signal directly, where `member_side` says which values indicate members (losses: low),
    and several signals through held-out decision values. `efficacy` is that of held-out members. The NoMUS protocol is
    balance="truncate_members" on the loss (Choi and Na 2023, arXiv 2311.02240). The Newton solver finds the optimum
    that lbfgs of scikit-learn stops near; `lbfgs` calls the latter.
    """
    signals = [read_signal(member, "member"), read_signal(non_member, "non_member")]
    sides = [as_groups(g, len(s)) for g, s in zip(groups, signals)] if groups is not None else None
    if match is not None:
        rows = match_labels(*match, seed=seed)
        signals = [s[r] for s, r in zip(signals, rows)]
        sides = [g[r] for g, r in zip(sides, rows)] if sides else None
    kept = balanced_rows(len(signals[0]), len(signals[1]), balance=balance, seed=balance_seed)
    features, is_member = stack(*(s[r] for s, r in zip(signals, kept)))
    kept_groups = np.concatenate([sides[1][kept[1]], sides[0][kept[0]]]) if sides else None
    if kept_groups is None:
        held_out = shuffled_splits(is_member, splits=splits, test_fraction=test_fraction, seed=seed)
    else:
        held_out = group_folds(kept_groups, is_member, folds=splits, seed=seed)
    correct = (decision_values(features, is_member, ~held_out, standardize=standardize, solver=solver) > 0) == is_member
    split_accuracy = _mean_where(correct, held_out)
    if kept_groups is None:
        tested = int(held_out[0].sum())
        accuracy = resampled_mean(split_accuracy, n_train=len(is_member) - tested, n_test=tested, n=len(is_member))
        missed = 1 - _mean_where(correct, held_out & is_member)
        targets = int((held_out[0] & is_member).sum())
        in_train = int(is_member.sum()) - targets
        efficacy = resampled_mean(missed, n_train=in_train, n_test=targets, n=int(is_member.sum()))
    else:
        outcomes = correct[held_out.argmax(axis=0), np.arange(len(is_member))]
        accuracy = proportion(outcomes, groups=kept_groups)
        efficacy = proportion(~outcomes[is_member], groups=kept_groups[is_member])
    sign = _sign(member_side)
    scores = [sign * s[:, 0] for s in signals]
    if features.shape[1] > 1:
        scores = _held_out_scores(signals, sides, splits, seed, standardize, solver)
    return AttackResult(accuracy, *curve(scores, sides, fprs), efficacy, larger_side(is_member), split_accuracy)


def threshold(
    member: Array,
    non_member: Array,
    *,
    target: Array | None = None,
    folds: int = 5,
    seed: int = 0,
    groups: tuple[Array, Array] | None = None,
    member_side: Side = "low",
    fprs: Sequence[float] = FPRS,
) -> AttackResult:
    """Attack by the threshold on the signal (M,), (N,) with the best balanced accuracy; O(n log n).

    Accuracy is balanced and held out, each fold with the threshold of the others: on noise, 50 against 50 samples, the
    best threshold of the same data gives 0.56. `efficacy` is the fraction of `target` (T,) on the non-member side of
    the threshold of all data, or without target the fraction of held-out members. Of equally good thresholds the
    strictest is used.
    """
    sign = _sign(member_side)
    scores = [sign * one_signal(member, "member"), sign * one_signal(non_member, "non_member")]
    sides = [as_groups(g, len(s)) for g, s in zip(groups, scores)] if groups is not None else None
    joined, is_member = np.concatenate(scores[::-1]), np.repeat([False, True], [len(s) for s in scores[::-1]])
    joined_groups = np.concatenate([sides[1], sides[0]]) if sides else np.arange(len(joined))
    held_out = group_folds(joined_groups, is_member, folds=folds, seed=seed)
    called = np.empty(len(joined), dtype=bool)
    for test in held_out:
        called[test] = joined[test] >= best_cut(joined[~test & is_member], joined[~test & ~is_member])
    detected = proportion(called[is_member], groups=sides[0] if sides else None)
    rejected = proportion(~called[~is_member], groups=sides[1] if sides else None)
    efficacy = complement(detected)
    if target is not None:
        efficacy = proportion(sign * one_signal(target, "target") < best_cut(*scores))
    per_fold = (_mean_where(called, held_out & is_member) + _mean_where(~called, held_out & ~is_member)) / 2
    return AttackResult(mean_of_proportions(detected, rejected), *curve(scores, sides, fprs), efficacy, 0.5, per_fold)


def _sign(member_side: Side) -> float:
    if member_side not in ("low", "high"):
        raise ValueError(f"unknown member_side {member_side!r} (allowed: low, high)")
    return -1.0 if member_side == "low" else 1.0


def _held_out_scores(
    signals: list[Floats], sides: list[Floats] | None, folds: int, seed: int, standardize: bool, solver: Solver
) -> list[Floats]:
    features, is_member = stack(*signals)
    groups = np.concatenate(sides[::-1]) if sides else np.arange(len(features))
    held_out = group_folds(groups, is_member, folds=max(folds, 2), seed=seed)
    values = decision_values(features, is_member, ~held_out, standardize=standardize, solver=solver)
    scores = values[held_out.argmax(axis=0), np.arange(len(features))]
    return [scores[is_member], scores[~is_member]]


def best_cut(members: Floats, others: Floats) -> float:
    """Return the threshold with the best balanced accuracy of `score >= threshold`; the strictest of equally good ones.

    It lies halfway between two scores, where floats allow.
    """
    points = roc(members, others)
    best = int(np.argmax(points.tpr - points.fpr))
    cut = float(points.thresholds[best])
    if best + 1 == len(points.thresholds):
        return cut
    halfway = (cut + float(points.thresholds[best + 1])) / 2
    return halfway if halfway > points.thresholds[best + 1] else cut


def _mean_where(values: Bools, mask: Bools) -> Floats:
    means: Floats = (values & mask).sum(axis=1) / mask.sum(axis=1)
    return means


def mean_of_proportions(first: Estimate, second: Estimate) -> Estimate:
    """Average two independent proportions; interval by variance estimates recovery (Zou and Donner 2008)."""
    low = np.hypot(first.value - first.low, second.value - second.low) / 2
    high = np.hypot(first.high - first.value, second.high - second.value) / 2
    value = (first.value + second.value) / 2
    return Estimate(value, float(value - low), float(value + high), first.n + second.n, f"mover of {first.interval}")
