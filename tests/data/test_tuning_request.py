"""The forget set that hyperparameters are tuned on: of the kind and size of the reported one, and apart from it."""

from dataclasses import replace

import numpy as np
import pytest

from raybench.data import forget_rules
from raybench.data.forget_rules.framework.counterpart import draw_counterpart
from raybench.data.forget_rules.framework.spec import Candidates
from raybench.data.mislabel import mislabel
from raybench.data.splits import Splits, make_splits, verify
from raybench.errors import UserError

SIZES = {"train": 200, "test": None}


def drawn(data, forget, *, seed=0, **options):
    return make_splits(data, SIZES, forget, seed, tuning_request=True, **options)


def test_half_of_retain_is_for_tuning_and_apart_from_what_is_reported(make_data):
    data = make_data(240)
    splits = drawn(data, {"rule": "random", "count": 41})
    assert (len(splits.tuning_forget), len(splits.tuning_retain), len(splits.reported_retain)) == (41, 38, 80)
    parts = [splits.tuning_forget, splits.tuning_retain, splits.reported_retain]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), splits.ids("retain"))
    assert not np.isin(np.concatenate(parts), splits.ids("forget")).any()


def test_the_roles_are_those_without_a_tuning_request(make_data):
    data, forget = make_data(240), {"rule": "random", "count": 40}
    with_request, plain = drawn(data, forget), make_splits(data, SIZES, forget, 0)
    for role, ids in plain.role.items():
        np.testing.assert_array_equal(with_request.ids(role), ids)
    np.testing.assert_array_equal(plain.reported_retain, plain.ids("retain"))
    assert with_request.fingerprint() != plain.fingerprint()


def test_random_requests_have_the_same_share_of_classes_and_of_wrong_labels(make_data):
    data, wrong = mislabel(make_data(240), 0.1, 0)
    splits = drawn(data, {"rule": "random", "count": 60}, mislabeled=wrong)
    for ids in (splits.tuning_forget, splits.tuning_retain, splits.reported_retain):
        expected = np.bincount(data.labels[splits.ids("retain")]) / 140 * len(ids)
        assert np.abs(np.bincount(data.labels[ids], minlength=3) - expected).max() <= 2
        assert abs(np.isin(ids, wrong).sum() - 0.1 * len(ids)) <= 2


def test_the_seed_of_the_data_decides_the_request(make_data):
    data, forget = make_data(240), {"rule": "ids", "ids": [1, 2, 3, 5, 8]}
    data = replace(data, part=np.r_[np.zeros(200, np.uint8), np.ones(40, np.uint8)])  # the same training set every time
    sizes = {"train": None, "test": None}
    first, same, other = (make_splits(data, sizes, forget, seed, tuning_request=True) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.tuning_forget, same.tuning_forget)
    assert not np.array_equal(first.tuning_forget, other.tuning_forget)


def test_class_rules_tune_on_other_whole_classes(make_data):
    data = make_data(240, classes=10)
    splits = drawn(data, {"rule": "class", "classes": [3, 4]})
    classes = np.unique(data.labels[splits.tuning_forget])
    assert len(classes) == 2
    assert not set(classes) & {3, 4}
    training = splits.ids("retain")
    np.testing.assert_array_equal(splits.tuning_forget, training[np.isin(data.labels[training], classes)])


def test_classes_of_unequal_sizes_are_matched_in_size():
    labels = np.repeat(np.arange(6), [30, 100, 12, 19, 80, 159])
    candidates = Candidates(np.arange(400), labels)
    for seed in range(5):
        ids = draw_counterpart("classes", candidates, np.flatnonzero(labels == 0), seed=seed)
        assert sorted(set(labels[ids])) == [2, 3]  # 31 samples; no other set of classes is closer to 30


def test_a_label_of_a_multi_label_task_is_matched_by_the_rest_of_another_label():
    generator = np.random.default_rng(0)
    labels = (generator.random((400, 5)) < [0.2, 0.05, 0.22, 0.6, 0.7]).astype(np.uint8)
    forgotten = np.flatnonzero(labels[:, 0])
    ids = draw_counterpart("classes", Candidates(np.arange(400), labels), forgotten, seed=0)
    assert not np.isin(ids, forgotten).any()
    assert abs(len(ids) - len(forgotten)) <= 0.5 * len(forgotten)
    carriers = [np.flatnonzero(labels[:, some].any(axis=1)) for some in ([1], [2], [1, 2])]
    assert any(np.array_equal(ids, np.setdiff1d(some, forgotten)) for some in carriers)


def test_identity_rules_tune_on_other_whole_identities(make_data):
    groups = np.repeat(np.arange(60), 4)
    data = make_data(240, groups=groups)
    splits = drawn(data, {"rule": "identity", "count": 8})
    people = {name: set(groups[ids]) for name, ids in splits.role.items()}
    tuned = set(groups[splits.tuning_forget])
    assert len(tuned) == 8
    assert not tuned & people["forget"]
    assert not tuned & set(groups[np.r_[splits.tuning_retain, splits.reported_retain]])
    assert tuned <= people["retain"]


def test_ranges_of_samples_that_split_identities_are_matched_by_samples(make_data):
    groups = np.repeat(np.arange(60), 4)
    candidates = Candidates(np.arange(240), np.arange(240) % 3, groups)
    whole = draw_counterpart("groups", candidates, np.arange(40), seed=0)
    assert len(candidates.split_groups(whole)) == 0
    split = draw_counterpart("groups", candidates, np.arange(41), seed=0)
    assert len(split) == 41
    assert len(candidates.split_groups(split)) > 0


def test_every_rule_says_what_its_counterpart_consists_of():
    kinds = {name: forget_rules.spec(name).counterpart for name in forget_rules.names()}
    assert {name for name, kind in kinds.items() if kind == "classes"} == {"class", "superclass"}
    assert {name for name, kind in kinds.items() if kind == "groups"} == {"identity", "id_ranges"}


@pytest.mark.parametrize(
    ("forget", "message"),
    [
        ({"rule": "random", "fraction": 0.5}, "needs 100 further samples, but only 100 are retained"),
        (
            {"rule": "random", "fraction": 0.4},
            "draws a second forget set of 80 samples, which leaves too few",
        ),
        ({"rule": "class", "classes": [0, 1]}, "needs 133 further samples, but only 67 are retained"),
    ],
)
def test_where_no_second_request_is_left_the_error_says_what_to_set(make_data, forget, message):
    with pytest.raises(UserError, match=rf"sweep.tuning_request: separate {message}"):
        drawn(make_data(240), forget)
    with pytest.raises(UserError, match=r"set sweep\.tuning_request: same, which tunes on the reported forget set"):
        drawn(make_data(240), forget)


def test_classes_that_are_all_much_larger_are_refused():
    labels = np.repeat(np.arange(3), [20, 100, 120])
    with pytest.raises(UserError, match=r"whole classes with about 20 samples, but none of the 2 .* than 80 samples"):
        draw_counterpart("classes", Candidates(np.arange(240), labels), np.arange(20), seed=0)


def test_a_table_of_splits_holds_the_request(make_data):
    data = make_data(240)
    splits = drawn(data, {"rule": "random", "count": 20})
    again = Splits.from_table(splits.to_table(data))
    np.testing.assert_array_equal(again.tuning_forget, splits.tuning_forget)
    np.testing.assert_array_equal(again.tuning_retain, splits.tuning_retain)
    assert again.fingerprint() == splits.fingerprint()


def test_a_request_that_overlaps_is_refused(make_data):
    data = make_data(240)
    roles = {"retain": np.arange(10), "forget": np.arange(10, 14)}
    with pytest.raises(UserError, match="the tuning forget set contains 1 samples outside retain: 12"):
        verify(Splits(roles, tuning_forget=[3, 12]), data)
    with pytest.raises(UserError, match="the tuning forget set and the tuning retain samples share 3"):
        verify(Splits(roles, tuning_forget=[3], tuning_retain=[3, 4]), data)
    people = replace(data, groups=np.arange(240) // 2)
    with pytest.raises(UserError, match=r"the tuning forget set splits 1 groups \(identities\): 1"):
        verify(Splits(roles, tuning_forget=[3]), people, whole_groups=True)
