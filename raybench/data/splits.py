"""Assign a role to every sample, and refuse a split in which two roles share a sample or a group.

retain + forget is the training set; `test` measures utility, `unseen` provides the non-members of attacks, `validation`
is for selection, `calibration` is for conformal quantiles. If hyperparameters are tuned on a separate deletion request,
half of retain is for tuning: a second forget set, and the retain samples that a search measures; reported metrics use
the other half. If a dataset has official splits, training and validation samples come from the training split and the
other roles from the test split, `unseen` from the unseen split if there is one. Samples that are left out have no role.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from raybench.data import forget_rules, id_sets
from raybench.data.drawing import draw, resolve
from raybench.data.forget_rules.framework.counterpart import USE_SAME, draw_counterpart
from raybench.data.forget_rules.framework.spec import Candidates
from raybench.data.images import LEFT_OUT, TEST, TRAIN, UNSEEN, ImageData
from raybench.data.listing import first_few
from raybench.data.perceptual_hash import hashes
from raybench.data.reading.order import seed_for, stratified_order
from raybench.data.role_sizes import SizeError
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
    """The sample ids of each role, sorted int64; all six roles are present, some may be empty.

    `tuning_forget` and `tuning_retain` are parts of retain: the forget set that hyperparameters are tuned on, and the
    retain samples that a search measures. Both are empty if a search sees the reported samples.
    """

    role: dict[str, np.ndarray]
    mislabeled: np.ndarray = field(default_factory=no_ids)  # ids with a deliberately wrong label, in any role
    tuning_forget: np.ndarray = field(default_factory=no_ids)
    tuning_retain: np.ndarray = field(default_factory=no_ids)

    def __post_init__(self) -> None:
        for name in self.role:
            if name not in ROLES:
                raise unknown("role", name, ROLES)
        self.role = {name: np.sort(np.asarray(self.role.get(name, no_ids()), dtype=np.int64)) for name in ROLES}
        self.mislabeled = np.sort(np.asarray(self.mislabeled, dtype=np.int64))
        self.tuning_forget = np.sort(np.asarray(self.tuning_forget, dtype=np.int64))
        self.tuning_retain = np.sort(np.asarray(self.tuning_retain, dtype=np.int64))

    def ids(self, role: str) -> np.ndarray:
        """Return the sample ids of `role`."""
        if role not in self.role:
            raise unknown("role", role, ROLES)
        return self.role[role]

    @property
    def reported_retain(self) -> np.ndarray:
        """Return the retain samples that no search measures or forgets; reported metrics use these."""
        return id_sets.without(self.role["retain"], np.concatenate([self.tuning_forget, self.tuning_retain]))

    def sizes(self) -> dict[str, int]:
        """Return the number of samples per role."""
        return {name: len(ids) for name, ids in self.role.items()}

    def fingerprint(self) -> str:
        """Hash the ids of every role, of the tuning request and the mislabeled ids into 16 hex characters."""
        digest = hashlib.blake2b(digest_size=8)
        tuning = {"tuning_forget": self.tuning_forget, "tuning_retain": self.tuning_retain}
        for name, ids in {**self.role, "mislabeled": self.mislabeled, **tuning}.items():
            digest.update(f"{name}{len(ids)}:".encode() + ids.astype("<i8").tobytes())
        return digest.hexdigest()

    def to_table(self, data: ImageData) -> pa.Table:
        """Return a table with one row per sample that has a role: id, role, tuning, label(s), group, mislabeled.

        `tuning` is what a search uses the sample for (forget, retain), or null; `group` is null without groups.
        """
        ids = np.concatenate([self.role[name] for name in ROLES])
        labels = data.labels[ids]
        multi = data.task == "multi_label"
        tuning = np.zeros(len(ids), dtype=np.int8)
        tuning[np.isin(ids, self.tuning_forget)] = 1
        tuning[np.isin(ids, self.tuning_retain)] = 2
        role = np.repeat(np.arange(len(ROLES), dtype=np.int8), list(self.sizes().values()))
        return pa.table(
            {
                "id": pa.array(ids, pa.int64()),
                "role": pa.array(ROLES, pa.string()).take(pa.array(role)),
                "tuning": pa.array([None, "forget", "retain"], pa.string()).take(pa.array(tuning)),
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
        for column in ("id", "role", "tuning", "mislabeled"):
            if column not in table.column_names:
                raise UserError(
                    f"not a table of splits: no column {column!r} (columns: {', '.join(table.column_names)})"
                )
        ids = _integers(table.column("id"))
        roles, tuning = _ids_of_value(ids, table.column("role")), _ids_of_value(ids, table.column("tuning"))
        wrong = _integers(table.column("mislabeled").cast(pa.int8())) == 1
        return cls(roles, ids[wrong], tuning.get("forget", no_ids()), tuning.get("retain", no_ids()))


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of integers without nulls; `to_numpy` imports pandas."""
    return np.from_dlpack(column.combine_chunks())


def _ids_of_value(ids: np.ndarray, column: pa.ChunkedArray) -> dict[str, np.ndarray]:
    """Return the ids of each value of a column of strings, without a string per row; null is no value."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    codes = _integers(pa.chunked_array([encoded.indices]))
    values = enumerate(encoded.dictionary.to_pylist())
    return {value: ids[codes == code] for code, value in values if value is not None}


def make_splits(
    data: ImageData,
    sizes: Mapping[str, float | int | None],
    forget: Mapping[str, Any],
    seed: int,
    mislabeled: np.ndarray | None = None,
    *,
    held_out_validation: bool = False,
    tuning_request: bool = False,
) -> Splits:
    """Draw the samples of every role and divide the training set into retain and forget; seeded.

    `sizes` has keys train, validation, calibration, test, unseen (missing: 0). An int counts samples, a float in (0, 1)
    is a fraction of the pool (rounded down), None takes the rest of the pool. `forget` is `{"rule": name, **options}`.
    `mislabeled` holds the ids with a wrong label; every role gets the same fraction of them. `held_out_validation`
    draws validation samples from the official test split: a checkpoint from elsewhere was trained on the whole training
    split. `tuning_request` also draws a forget set to tune on, of the kind that the rule names, and half of retain for
    tuning: this forget set, and a random rest, stratified by class and by mislabeling.

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
        raise SizeError("the training set is empty: set sizes.train, or null for the rest of its pool")
    options = dict(forget)
    rule = options.pop("rule", None)
    if not isinstance(rule, str):
        raise UserError(f"forget needs `rule`, one of {', '.join(forget_rules.names())}; found {dict(forget)}")
    groups = None if data.groups is None else data.groups[train]
    candidates = Candidates(
        train, data.labels[train], groups, data.class_names, wrong[train], lambda: hashes(data, train)
    )
    forgotten = forget_rules.select(rule, candidates, **options)
    spec, retain = forget_rules.spec(rule), id_sets.without(train, forgotten)
    tuning = no_ids(), no_ids()
    if tuning_request:
        request = draw_counterpart(spec.counterpart, candidates, forgotten, seed=seed)
        tuning = request, _tuning_retain(data, retain, request, wrong, seed)
    splits = Splits({"retain": retain, "forget": forgotten, **drawn}, np.flatnonzero(wrong).astype(np.int64), *tuning)
    verify(splits, data, whole_groups=spec.whole_groups)
    return splits


def _tuning_retain(
    data: ImageData, retain: np.ndarray, request: np.ndarray, wrong: np.ndarray, seed: int
) -> np.ndarray:
    """Draw the retain samples that a search measures: with the tuning request, half of retain (rounded down)."""
    rest, number = id_sets.without(retain, request), len(retain) // 2 - len(request)
    if number < 1:
        raise UserError(
            f"sweep.tuning_request: separate draws a second forget set of {len(request)} samples, which leaves too few "
            f"of the {len(retain)} retain samples to measure a search on (it needs less than half); {USE_SAME}"
        )
    classes = data.labels[rest] if data.task == "single" else np.zeros(len(rest), dtype=np.int64)
    generator = np.random.default_rng(seed_for("tuning retain", seed))
    order = stratified_order(classes * 2 + wrong[rest], wrong[rest], generator=generator)
    return np.sort(rest[order[:number]])


def verify(splits: Splits, data: ImageData, *, whole_groups: bool = False) -> None:
    """Raise UserError unless roles are disjoint by id and, if the data has groups, by group, and none contains
    LEFT_OUT.

    Retain and forget may share a group, unless `whole_groups`: a rule that selects by identity must not split one. The
    tuning request must lie in retain, disjoint from the samples that a search measures.
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
        shared = id_sets.shared(a, b)
        if len(shared):
            raise UserError(f"{first} and {second} share {len(shared)} samples: {first_few(shared)}")
        if data.groups is None or ((first, second) == ("retain", "forget") and not whole_groups):
            continue
        shared = np.intersect1d(data.groups[a], data.groups[b])
        if len(shared):
            raise UserError(f"{first} and {second} share {len(shared)} groups (identities): {first_few(shared)}")
    _verify_tuning(splits, data, whole_groups=whole_groups)


def _verify_tuning(splits: Splits, data: ImageData, *, whole_groups: bool) -> None:
    request, measured = splits.tuning_forget, splits.tuning_retain
    for name, ids in (("the tuning forget set", request), ("the tuning retain samples", measured)):
        foreign = id_sets.without(ids, splits.ids("retain"))
        if len(foreign):
            raise UserError(f"{name} contains {len(foreign)} samples outside retain: {first_few(foreign)}")
    shared = id_sets.shared(request, measured)
    if len(shared):
        raise UserError(f"the tuning forget set and the tuning retain samples share {first_few(shared)}")
    if len(request) and data.groups is not None and whole_groups:
        others = id_sets.without(id_sets.union(splits.ids("retain"), splits.ids("forget")), request)
        split = np.intersect1d(data.groups[request], data.groups[others])
        if len(split):
            raise UserError(f"the tuning forget set splits {len(split)} groups (identities): {first_few(split)}")


def roles_of_splits(part: np.ndarray, *, held_out_validation: bool = False) -> dict[int, list[str]]:
    """Return which roles are drawn from which official split of the dataset: {split: roles}."""
    present = {TRAIN, *np.flatnonzero(np.bincount(part)).tolist()}
    allowed = {**SPLITS_OF_ROLE, "validation": SPLITS_OF_ROLE["test"]} if held_out_validation else SPLITS_OF_ROLE
    split_of = {role: next(split for split in allowed[role] if split in present) for role in DRAWN}
    return {
        split: [role for role in DRAWN if split_of[role] == split]
        for split in SPLIT_NAMES
        if split in split_of.values()
    }
