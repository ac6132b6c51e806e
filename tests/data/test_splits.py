from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench import data as datasets
from raybench.data.drawing import majority_label
from raybench.data.images import LEFT_OUT, TEST, TRAIN, UNSEEN
from raybench.data.mislabel import mislabel
from raybench.data.splits import DRAWN, ROLES, Splits, make_splits, verify
from raybench.errors import UserError

SIZES = {"train": 24, "validation": 6, "calibration": 6, "test": 12, "unseen": None}
RANDOM = {"rule": "random", "fraction": 0.25, "seed": 0}


def multi_label(data):
    return replace(data, labels=np.random.default_rng(0).integers(0, 2, (60, 3)).astype(np.uint8))


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.fixed_dictionaries(
        {
            "train": st.one_of(st.integers(4, 24), st.floats(0.1, 0.4)),
            **{role: st.one_of(st.integers(0, 8), st.floats(0.01, 0.14)) for role in DRAWN[1:]},
        }
    ),
    rest=st.sampled_from([None, *DRAWN]),
    seed=st.integers(0, 1000),
)
def test_roles_are_disjoint_and_have_the_sizes_asked_for(make_data, sizes, rest, seed):
    if rest:
        sizes[rest] = None
    splits = make_splits(make_data(), sizes, {"rule": "random", "count": 2}, seed)
    everyone = np.concatenate([splits.ids(role) for role in ROLES])
    assert len(np.unique(everyone)) == len(everyone)
    for role, size in sizes.items():
        found = len(splits.ids("retain")) + len(splits.ids("forget")) if role == "train" else len(splits.ids(role))
        if size is None:
            assert len(everyone) == 60
        else:
            assert found == (size if isinstance(size, int) else int(size * 60 + 1e-9))


def test_the_same_seed_gives_the_same_split_and_another_does_not(make_data):
    data = make_data()
    first = make_splits(data, SIZES, RANDOM, 0)
    assert first.fingerprint() == make_splits(data, dict(reversed(SIZES.items())), RANDOM, 0).fingerprint()
    assert first.fingerprint() != make_splits(data, SIZES, RANDOM, 1).fingerprint()


def test_the_forget_seed_changes_only_the_cut_of_the_training_set(make_data):
    first, second = (make_splits(make_data(), SIZES, RANDOM | {"seed": seed}, 0) for seed in (0, 1))
    assert (first.ids("forget") != second.ids("forget")).any()
    for role in ROLES[2:]:
        np.testing.assert_array_equal(first.ids(role), second.ids(role))


def test_official_parts_are_respected(make_data):
    data = make_data(test=20)
    splits = make_splits(
        data, {"train": None, "validation": 0.2, "calibration": 5, "test": 0.5, "unseen": None}, RANDOM, 0
    )
    assert splits.sizes() == {"retain": 24, "forget": 8, "validation": 8, "calibration": 5, "test": 10, "unseen": 5}
    for role in ROLES:
        assert (data.part[splits.ids(role)] == (role in ("calibration", "test", "unseen"))).all(), role


def in_parts(data, *parts):
    return replace(data, part=np.repeat(np.array(parts, dtype=np.uint8), data.num_samples // len(parts)))


def test_an_official_unseen_part_gives_the_unseen_role_and_nothing_else(make_data):
    data = in_parts(make_data(), TRAIN, TRAIN, TEST, UNSEEN)
    sizes = {"train": None, "validation": 6, "calibration": 5, "test": None, "unseen": None}
    splits = make_splits(data, sizes, RANDOM, 0)
    assert splits.sizes() == {"retain": 18, "forget": 6, "validation": 6, "calibration": 5, "test": 10, "unseen": 15}
    for role, ids in splits.role.items():
        home = UNSEEN if role == "unseen" else TEST if role in ("calibration", "test") else TRAIN
        assert set(data.part[ids]) == {home}, role
    without = make_splits(in_parts(make_data(), TRAIN, TRAIN, TEST, TEST), sizes | {"unseen": 0}, RANDOM, 0)
    np.testing.assert_array_equal(without.ids("validation"), splits.ids("validation"))


def test_an_unseen_part_without_a_test_part_leaves_the_others_in_the_training_part(make_data):
    data = in_parts(make_data(), TRAIN, TRAIN, UNSEEN)
    splits = make_splits(data, {"train": 20, "test": None, "unseen": 0.5}, RANDOM, 0)
    assert splits.sizes() == {"retain": 15, "forget": 5, "validation": 0, "calibration": 0, "test": 20, "unseen": 10}
    assert set(data.part[splits.ids("test")]) == {TRAIN}
    assert set(data.part[splits.ids("unseen")]) == {UNSEEN}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"unseen": 16}, "the official unseen split has 15 samples; the sizes request 16 .unseen 16"),
        ({"test": 10, "calibration": 6}, "the official test split has 15 samples; the sizes request 16"),
        ({"train": 25, "validation": 6}, "the official training split has 30 samples; the sizes request 31"),
    ],
)
def test_a_part_that_is_too_small_is_named(make_data, sizes, message):
    with pytest.raises(UserError, match=message):
        make_splits(in_parts(make_data(), TRAIN, TRAIN, TEST, UNSEEN), {"train": None} | sizes, RANDOM, 0)


@pytest.mark.parametrize("parts", [(TRAIN, LEFT_OUT, TRAIN), (TRAIN, LEFT_OUT, TEST), (TRAIN, TEST, UNSEEN, LEFT_OUT)])
def test_samples_that_are_left_out_have_no_role(make_data, parts):
    data = in_parts(make_data(), *parts)
    sizes = {"train": 0.8, "test": 0.15, "unseen": 0.05}
    splits = make_splits(data, sizes, RANDOM, 0)
    everyone = np.concatenate(list(splits.role.values()))
    assert len(everyone) > 0
    assert LEFT_OUT not in data.part[everyone]
    with pytest.raises(UserError, match="test contains 1 samples that are left out: "):
        verify(Splits({"test": [int(np.flatnonzero(data.part == LEFT_OUT)[0])]}), data)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), multi=st.booleans())
def test_the_majority_label_of_a_group_is_that_of_most_of_its_samples(seed, multi):
    generator = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(6), generator.integers(0, 6, 20)])
    labels = generator.integers(0, 2, (26, 3)) if multi else generator.integers(0, 4, 26)
    found = majority_label(labels, codes)
    if multi:
        sets = [tuple(labels[codes == g].mean(axis=0) > 0.5) for g in range(6)]
        assert [[a == b for b in sets] for a in sets] == (found[:, None] == found).tolist()
    else:
        assert found.tolist() == [int(np.bincount(labels[codes == g]).argmax()) for g in range(6)]


def test_groups_are_drawn_in_the_share_of_their_majority_label(make_data):
    groups = np.arange(240) // 4
    labels = (groups % 3 == 0).astype(np.int64)  # a third of the people, one class each
    data = make_data(240, classes=2, groups=groups, labels=labels)
    sizes = {"train": 0.5, "validation": 0.1, "calibration": 0.1, "test": 0.2, "unseen": None}
    for seed in range(5):
        for role, ids in make_splits(data, sizes, RANDOM, seed).role.items():
            if role not in ("retain", "forget"):
                assert abs(labels[ids].sum() - len(ids) / 3) <= 8, role


def test_single_label_roles_are_balanced_over_classes(make_data):
    data = make_data()
    splits = make_splits(data, SIZES, RANDOM, 3)
    for role in ROLES:
        assert set(np.bincount(data.labels[splits.ids(role)])) == {len(splits.ids(role)) // 3}


@pytest.mark.parametrize("seed", range(3))
def test_every_role_has_its_share_of_mislabeled_samples(seed):
    data, wrong = mislabel(datasets.load("digits"), 0.1, seed)
    sizes = {"train": 600, "validation": 200, "calibration": 200, "test": 300, "unseen": None}
    splits = make_splits(data, sizes, {"rule": "random", "fraction": 0.2, "seed": seed}, seed, wrong)
    for role, ids in splits.role.items():
        assert abs(np.isin(ids, wrong).sum() - 0.1 * len(ids)) <= 2, role
        assert np.abs(np.bincount(data.labels[ids]) - np.bincount(data.labels) * len(ids) / 1797).max() <= 3, role


def test_groups_too_large_for_a_role_are_refused(make_data):
    data = make_data(groups=np.arange(60) // 20)
    with pytest.raises(UserError, match="test should have 5 samples, but no whole group fits"):
        make_splits(data, {"train": 20, "test": 5}, RANDOM, 0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), people=st.integers(20, 30))
def test_groups_never_cross_roles(make_data, seed, people):
    groups = np.random.default_rng(seed).integers(0, people, 200) * 7
    data = make_data(200, groups=groups)
    sizes = {"train": 0.5, "validation": 0.12, "calibration": 0.12, "test": 0.12, "unseen": None}
    splits = make_splits(data, sizes, RANDOM, seed)
    owners = [set(groups[np.concatenate([splits.ids("retain"), splits.ids("forget")])])]
    owners += [set(groups[splits.ids(role)]) for role in ROLES[2:]]
    assert sum(map(len, owners)) == len(set.union(*owners)) == len(np.unique(groups))
    largest = np.unique(groups, return_counts=True)[1].max()
    assert abs(len(splits.ids("test")) - 24) <= largest


def test_a_group_in_both_official_parts_is_refused(make_data):
    data = make_data(test=20, groups=np.arange(60) % 30)
    with pytest.raises(UserError, match=r"share \d+ groups"):
        make_splits(data, {"train": None, "unseen": None}, RANDOM, 0)


def test_verify_finds_shared_samples_and_shared_groups(make_data):
    data = make_data(groups=np.arange(60) // 2)
    verify(Splits({"retain": [0, 1], "forget": [2, 3], "test": [4, 5]}), data, whole_groups=True)
    verify(Splits({"retain": [0, 2], "forget": [1, 3], "test": [4, 5]}), data)
    with pytest.raises(UserError, match=r"retain and forget share 2 groups.*: 0, 1"):
        verify(Splits({"retain": [0, 2], "forget": [1, 3]}), data, whole_groups=True)
    with pytest.raises(UserError, match="forget and unseen share 1 groups"):
        verify(Splits({"forget": [3], "unseen": [2]}), data)
    with pytest.raises(UserError, match="forget and test share 1 samples: 3"):
        verify(Splits({"forget": [3], "test": [3]}), data)
    with pytest.raises(UserError, match="test contains 3 more than once"):
        verify(Splits({"test": [3, 3]}), data)
    with pytest.raises(UserError, match=r"outside 0\.\.59"):
        verify(Splits({"test": [60]}), data)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 40, "validation": 30}, "the dataset has 60 samples; the sizes request 70 .train 40, validation 30"),
        ({"train": None, "test": None}, "train and test both take the rest of the dataset"),
        ({"train": 60, "test": None}, "nothing is left for test"),
        ({"train": 30, "tests": 3}, "unknown role in sizes: 'tests'; did you mean 'test'"),
        ({"train": -1}, "size of train is -1"),
        ({"train": 1.5}, "size of train is 1.5"),
        ({"train": True}, "size of train is True"),
        ({"train": "all"}, "size of train is 'all'"),
        ({"test": 3}, "training set is empty"),
    ],
)
def test_sizes_that_cannot_be_met_are_refused(make_data, sizes, message):
    with pytest.raises(UserError, match=message):
        make_splits(make_data(), sizes, RANDOM, 0)


def test_shares_that_add_up_to_one_always_fit(make_data):
    splits = make_splits(make_data(57), {"train": 0.5, "test": 0.5}, RANDOM, 0)
    assert sum(splits.sizes().values()) == 56


def test_a_forget_entry_without_a_rule_lists_the_rules(make_data):
    with pytest.raises(UserError, match=r"forget needs `rule`, one of class, .*identity, ids, random"):
        make_splits(make_data(), SIZES, {"fraction": 0.1}, 0)


@pytest.mark.parametrize("kind", ["single", "multi", "groups"])
def test_a_table_of_splits_reads_back_equal(make_data, kind):
    data = make_data(groups=np.arange(60) // 2 if kind == "groups" else None)
    data = multi_label(data) if kind == "multi" else data
    splits = make_splits(data, SIZES | {"test": 0}, RANDOM, 0, np.array([0, 7, 11, 50]))
    table = splits.to_table(data)
    again = Splits.from_table(table)
    assert again.fingerprint() == splits.fingerprint()
    assert again.sizes() == splits.sizes()
    row = table.slice(5, 1).to_pylist()[0]
    i = row["id"]
    assert i in splits.ids(row["role"])
    assert row["label"] == data.labels[i].tolist()
    assert row["group"] == (i // 2 if kind == "groups" else None)
    assert table.column("mislabeled").to_pylist() == [i in (0, 7, 11, 50) for i in table.column("id").to_pylist()]


def test_a_table_of_something_else_is_refused(make_data):
    table = make_splits(make_data(), SIZES, RANDOM, 0).to_table(make_data())
    with pytest.raises(UserError, match="no column 'role'"):
        Splits.from_table(table.drop_columns("role"))


def test_an_unknown_role_names_the_nearest(make_data):
    with pytest.raises(UserError, match="did you mean 'forget'"):
        Splits({}).ids("forgot")


def test_of_a_model_that_was_trained_elsewhere_on_the_training_part_nothing_of_that_part_is_called_unseen(make_data):
    data = make_data(test=30)
    part = data.part
    sizes = {"train": None, "validation": 6, "calibration": 6, "test": None, "unseen": 6}
    splits = make_splits(data, sizes, RANDOM, 0, held_out_validation=True)
    assert len(splits.ids("retain")) + len(splits.ids("forget")) == 30
    assert set(part[splits.ids("validation")]) == {1}
    usual = make_splits(data, sizes, RANDOM, 0)
    assert set(part[usual.ids("validation")]) == {0}
    whole = make_data()  # without a test part there is nothing else to draw it from
    assert make_splits(whole, SIZES, RANDOM, 0, held_out_validation=True).fingerprint() == (
        make_splits(whole, SIZES, RANDOM, 0).fingerprint()
    )
