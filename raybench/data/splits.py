"""Assign a role to every sample, and refuse a split in which two roles share a sample or a group.

retain + forget is the training set; `test` measures utility, `unseen` provides the non-members of attacks, `validation`
is the only role that a sweep may select on, `calibration` is for conformal quantiles. If a dataset has official splits,
training and validation samples come from the training split and the other roles from the test split, `unseen` from the
unseen split if there is one. Samples that are left out have no role.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from raybench.data import forget_rules
from raybench.data.forget_rules.framework.spec import Candidates
from raybench.data.images import LEFT_OUT, TEST, TRAIN, UNSEEN, ImageData
from raybench.data.listing import first_few
from raybench.data.perceptual_hash import hashes
from raybench.data.reading.order import seed_for, stratified_order
from raybench.errors import UserError, unknown

ROLES = ("retain", "forget", "validation", "calibration", "test", "unseen")
DRAWN = ("train", "validation", "calibration", "test", "unseen")
SPLITS_OF_ROLE = {  # the official splits that a role may be drawn from; the first that the dataset has is used
    "train": (TRAIN,),
    "validation": (TRAIN,),
    "calibration": (TEST, TRAIN),
    "test": (TEST, TRAIN),
    "unseen": (UNSEEN, TEST, TRAIN),
}
SPLIT_NAMES = {TRAIN: "training", TEST: "test", UNSEEN: "unseen"}


def no_ids() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass
class Splits:
    """The sample ids of each role, sorted int64; all six roles are present, some may be empty."""

    role: dict[str, np.ndarray]
    mislabeled: np.ndarray = field(default_factory=no_ids)  # ids with a deliberately wrong label, in any role

    def __post_init__(self) -> None:
        for name in self.role:
            if name not in ROLES:
                raise unknown("role", name, ROLES)
        self.role = {name: np.sort(np.asarray(self.role.get(name, no_ids()), dtype=np.int64)) for name in ROLES}
        self.mislabeled = np.sort(np.asarray(self.mislabeled, dtype=np.int64))

    def ids(self, role: str) -> np.ndarray:
        """Return the sample ids of `role`."""
        if role not in self.role:
            raise unknown("role", role, ROLES)
        return self.role[role]

    def sizes(self) -> dict[str, int]:
        """Return the number of samples per role."""
        return {name: len(ids) for name, ids in self.role.items()}

    def fingerprint(self) -> str:
        """Hash the ids of every role and the mislabeled ids into 16 hex characters."""
        digest = hashlib.blake2b(digest_size=8)
        for name, ids in {**self.role, "mislabeled": self.mislabeled}.items():
            digest.update(f"{name}{len(ids)}:".encode() + ids.astype("<i8").tobytes())
        return digest.hexdigest()

    def to_table(self, data: ImageData) -> pa.Table:
        """Return a table with one row per sample that has a role: id, role, label(s), group or null, mislabeled."""
        ids = np.concatenate([self.role[name] for name in ROLES])
        labels = data.labels[ids]
        multi = data.task == "multi_label"
        return pa.table(
            {
                "id": pa.array(ids, pa.int64()),
                "role": pa.array(np.repeat(ROLES, list(self.sizes().values())), pa.string()),
                "label": pa.array(labels.tolist() if multi else labels, pa.list_(pa.int64()) if multi else pa.int64()),
                "group": pa.nulls(len(ids), pa.int64())
                if data.groups is None
                else pa.array(data.groups[ids], pa.int64()),
                "mislabeled": pa.array(np.isin(ids, self.mislabeled), pa.bool_()),
            }
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> "Splits":
        """Read the splits from a table of `to_table` (it lacks mislabeled ids without a role)."""
        for column in ("id", "role", "mislabeled"):
            if column not in table.column_names:
                raise UserError(
                    f"not a table of splits: no column {column!r} (columns: {', '.join(table.column_names)})"
                )
        ids = table.column("id").to_numpy()
        roles = np.array(table.column("role").to_pylist(), dtype=object)
        ids_of = {str(name): ids[roles == name] for name in dict.fromkeys(roles)}
        return cls(ids_of, ids[table.column("mislabeled").to_numpy(zero_copy_only=False).astype(bool)])


def make_splits(
    data: ImageData,
    sizes: Mapping[str, float | int | None],
    forget: Mapping[str, Any],
    seed: int,
    mislabeled: np.ndarray | None = None,
    *,
    held_out_validation: bool = False,
) -> Splits:
    """Draw the samples of every role and divide the training set into retain and forget; seeded.

    `sizes` has keys train, validation, calibration, test, unseen (missing: 0). An int counts samples, a float in (0, 1)
    is a fraction of the pool (rounded down), None takes the rest of the pool. `forget` is `{"rule": name, **options}`.
    `mislabeled` holds the ids with a wrong label; every role gets the same fraction of them. `held_out_validation`
    draws validation samples from the official test split: a checkpoint from elsewhere was trained on the whole training
    split.

    Single-label draws are stratified by class. If the data has groups, whole groups are drawn, stratified by their most
    frequent label, and sizes are met as closely as groups allow. Raises UserError for an unknown key or rule, a size
    that exceeds the pool, and everything that `verify` checks.
    """
    for key in sizes:
        if key not in DRAWN:
            raise unknown("role in sizes:", key, DRAWN)
    wrong = np.zeros(data.num_samples, dtype=bool)
    if mislabeled is not None:
        wrong[mislabeled] = True
    pools = roles_of_splits(data.part, held_out_validation=held_out_validation)
    drawn: dict[str, np.ndarray] = {}
    for part, roles in pools.items():
        pool = np.flatnonzero(data.part == part).astype(np.int64)
        name = f"the official {SPLIT_NAMES[part]} split" if len(pools) > 1 else "the dataset"
        counts = resolve({role: sizes.get(role, 0) for role in roles}, len(pool), name)
        generator = np.random.default_rng(seed_for("splits", seed, part))
        drawn |= draw(data, pool, counts, wrong, generator)
    train = drawn.pop("train")
    if len(train) == 0:
        raise UserError("the training set is empty: set sizes.train, or null for the rest of its pool")
    options = dict(forget)
    rule = options.pop("rule", None)
    if not isinstance(rule, str):
        raise UserError(f"forget needs `rule`, one of {', '.join(forget_rules.names())}; found {dict(forget)}")
    groups = None if data.groups is None else data.groups[train]
    candidates = Candidates(
        train, data.labels[train], groups, data.class_names, wrong[train], lambda: hashes(data, train)
    )
    forgotten = forget_rules.select(rule, candidates, **options)
    splits = Splits(
        {"retain": np.setdiff1d(train, forgotten), "forget": forgotten, **drawn}, np.flatnonzero(wrong).astype(np.int64)
    )
    verify(splits, data, whole_groups=forget_rules.spec(rule).whole_groups)
    return splits


def verify(splits: Splits, data: ImageData, *, whole_groups: bool = False) -> None:
    """Raise UserError unless roles are disjoint by id and, if the data has groups, by group, and none contains
    LEFT_OUT.

    Retain and forget may share a group, unless `whole_groups`: a rule that selects by identity must not split one.
    """
    for name, ids in splits.role.items():
        if len(ids) and (ids[0] < 0 or ids[-1] >= data.num_samples):
            raise UserError(f"{name} contains ids outside 0..{data.num_samples - 1}: {ids[0]} to {ids[-1]}")
        repeated = ids[1:][ids[1:] == ids[:-1]]
        if len(repeated):
            raise UserError(f"{name} contains {first_few(repeated)} more than once")
        left_out = ids[data.part[ids] == LEFT_OUT]
        if len(left_out):
            raise UserError(f"{name} contains {len(left_out)} samples that are left out: {first_few(left_out)}")
    for (first, a), (second, b) in combinations(splits.role.items(), 2):
        shared = np.intersect1d(a, b)
        if len(shared):
            raise UserError(f"{first} and {second} share {len(shared)} samples: {first_few(shared)}")
        if data.groups is None or ((first, second) == ("retain", "forget") and not whole_groups):
            continue
        shared = np.intersect1d(data.groups[a], data.groups[b])
        if len(shared):
            raise UserError(f"{first} and {second} share {len(shared)} groups (identities): {first_few(shared)}")


def resolve(sizes: Mapping[str, float | int | None], available: int, pool: str) -> dict[str, int]:
    """Convert the sizes of one pool to counts; the role that takes the rest comes last."""
    counts: dict[str, int] = {}
    rest: list[str] = []
    for role, size in sizes.items():
        if size is None:
            rest.append(role)
        elif isinstance(size, float) and 0 < size < 1:
            # Rounded down, so that fractions that sum to 1 fit; 0.29 * 100 is 28.999999999999996.
            counts[role] = int(size * available + 1e-9)
        elif isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 0:
            counts[role] = int(size)
        else:
            raise UserError(
                f"size of {role} is {size!r}: set a count, a fraction between 0 and 1, or null for the rest"
            )
    if len(rest) > 1:
        raise UserError(f"{' and '.join(rest)} both take the rest of {pool}; at most one may")
    listed = ", ".join(f"{role} {count}" for role, count in counts.items() if count)
    remaining = available - sum(counts.values())
    if remaining < 0 or (rest and remaining == 0):
        no_rest = f" and nothing is left for {rest[0]}" if rest else ""
        raise UserError(f"{pool} has {available} samples; the sizes request {sum(counts.values())} ({listed}){no_rest}")
    return counts | dict.fromkeys(rest, remaining)


def draw(
    data: ImageData, pool: np.ndarray, counts: Mapping[str, int], wrong: np.ndarray, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Divide a random order of `pool` into consecutive slices, one per role; ids sorted."""
    ends = np.cumsum(list(counts.values()))
    if data.groups is None or len(pool) == 0:
        classes = data.labels[pool] if data.task == "single" else np.zeros(len(pool), dtype=np.int64)
        order = stratified_order(classes * 2 + wrong[pool], wrong[pool], generator=generator)
    else:
        _, codes, members = np.unique(data.groups[pool], return_inverse=True, return_counts=True)
        sequence = stratified_order(majority_label(data.labels[pool], codes), generator=generator)
        order = np.argsort(np.argsort(sequence)[codes], kind="stable")
        filled = np.concatenate([[0], np.cumsum(members[sequence])])
        # of two equally close ends the later, because an empty role is refused
        ends = np.array([filled[len(filled) - 1 - np.abs(filled - end)[::-1].argmin()] for end in ends], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    drawn = {role: np.sort(pool[order[start:end]]) for role, start, end in zip(counts, starts, ends)}
    for role, count in counts.items():
        if count and len(drawn[role]) == 0:
            raise UserError(
                f"{role} should have {count} samples, but no whole group fits; there are too few groups for these sizes"
            )
    return drawn


def roles_of_splits(part: np.ndarray, *, held_out_validation: bool = False) -> dict[int, list[str]]:
    """Return which roles are drawn from which official split of the dataset: {split: roles}."""
    present = {TRAIN, *np.unique(part).tolist()}
    allowed = {**SPLITS_OF_ROLE, "validation": SPLITS_OF_ROLE["test"]} if held_out_validation else SPLITS_OF_ROLE
    split_of = {role: next(split for split in allowed[role] if split in present) for role in DRAWN}
    return {
        split: [role for role in DRAWN if split_of[role] == split]
        for split in SPLIT_NAMES
        if split in split_of.values()
    }


def majority_label(labels: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return one stratum per group, int64 (G,): its most frequent label, or set of majority labels."""
    sizes = np.bincount(codes)
    if labels.ndim > 1:
        carriers = np.stack([np.bincount(codes, weights=column) for column in labels.T], axis=1)
        return np.unique(carriers * 2 > sizes[:, None], axis=0, return_inverse=True)[1].reshape(-1)
    pairs, counts = np.unique(np.stack([codes, labels]), axis=1, return_counts=True)  # (2, P) of group and label
    order = np.lexsort([-pairs[1], counts, pairs[0]])  # by group; its most frequent label last, the smaller id on ties
    return np.asarray(pairs[1][order][np.cumsum(np.bincount(pairs[0])) - 1])
