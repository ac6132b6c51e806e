import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from raybench.metrics.functions.folds import balanced_rows, group_folds, match_labels, shuffled_splits


def test_shuffled_splits_are_those_of_scikit_learn():
    is_member = np.repeat([False, True], [1504, 1500])
    splitter = StratifiedShuffleSplit(10, test_size=0.1, random_state=0)
    expected = [sorted(test) for _, test in splitter.split(is_member, is_member)]
    masks = shuffled_splits(is_member, splits=10, test_fraction=0.1, seed=0)
    assert [np.flatnonzero(mask).tolist() for mask in masks] == expected
    assert masks.sum(axis=1).tolist() == [301] * 10


def test_a_side_too_small_to_be_tested_is_refused():
    with pytest.raises(ValueError, match="too few to test"):
        shuffled_splits(np.repeat([False, True], [100, 2]), splits=3, test_fraction=0.1, seed=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_group_folds_hold_out_every_sample_once_and_cut_no_group(seed, folds):
    rng = np.random.default_rng(seed)
    groups = rng.integers(25, size=120)
    is_member = groups % 3 > 0  # an identity lies on one side
    masks = group_folds(groups, is_member, folds=folds, seed=seed)
    assert (masks.sum(axis=0) == 1).all()
    for mask in masks:
        assert not set(groups[mask]) & set(groups[~mask])
        assert (mask & is_member).any()
        assert (mask & ~is_member).any()


def test_group_folds_share_both_sides_evenly_even_where_persons_are_unequal():
    rng = np.random.default_rng(0)
    members = np.repeat(np.arange(100), rng.integers(1, 20, 100))
    others = np.repeat(np.arange(100, 160), rng.integers(1, 4, 60))
    is_member = np.repeat([False, True], [len(others), len(members)])
    masks = group_folds(np.concatenate([others, members]), is_member, folds=10, seed=0)
    for side in (is_member, ~is_member):
        shares = (masks & side).sum(axis=1) / side.sum()
        assert shares.min() > 0.07
        assert shares.max() < 0.13


def test_samples_without_companions_are_dealt_out_evenly():
    is_member = np.repeat([False, True], [53, 47])
    masks = group_folds(np.arange(100), is_member, folds=10, seed=0)
    assert set((masks & is_member).sum(axis=1)) <= {4, 5}
    assert set((masks & ~is_member).sum(axis=1)) <= {5, 6}
    assert not np.array_equal(masks, group_folds(np.arange(100), is_member, folds=10, seed=1))


def test_more_folds_than_persons_are_refused():
    with pytest.raises(ValueError, match="5 folds need"):
        group_folds([0, 0, 1, 1, 2, 3, 4, 5, 6], np.repeat([True, False], [4, 5]), folds=5, seed=0)


def test_truncation_is_the_shuffle_of_the_nomus_protocol():
    losses = np.random.default_rng(0).normal(size=10)
    expected = losses.copy()
    np.random.RandomState(42).shuffle(expected)
    members, others = balanced_rows(10, 6, balance="truncate_members", seed=42)
    assert losses[members].tolist() == expected[:6].tolist()
    assert others.tolist() == list(range(6))


def test_the_protocol_never_cuts_non_members_and_smaller_side_does():
    members, others = balanced_rows(5, 9, balance="truncate_members", seed=42)
    assert (len(members), len(others)) == (5, 9)
    members, others = balanced_rows(5, 9, balance="smaller_side", seed=42)
    assert (members.tolist(), len(set(others.tolist()))) == (list(range(5)), 5)
    both = [balanced_rows(10, 6, balance=balance, seed=42)[0] for balance in ("truncate_members", "smaller_side")]
    assert both[0].tolist() == both[1].tolist()
    with pytest.raises(ValueError, match="unknown balance"):
        balanced_rows(5, 9, balance="both", seed=42)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_matched_sides_hold_each_label_equally_often(first, second):
    if not set(first) & set(second):
        with pytest.raises(ValueError, match="share no label"):
            match_labels(first, second, seed=0)
        return
    rows = match_labels(first, second, seed=0)
    kept = [np.bincount(np.array(side)[r], minlength=4) for side, r in zip((first, second), rows)]
    assert kept[0].tolist() == kept[1].tolist()
    assert kept[0].tolist() == np.minimum(*(np.bincount(side, minlength=4) for side in (first, second))).tolist()


def test_multilabel_sides_are_matched_on_the_whole_row():
    first, second = np.array([[0, 1], [0, 1], [1, 1]]), np.array([[0, 1], [1, 0], [1, 1]])
    rows = match_labels(first, second, seed=0)
    assert sorted(first[rows[0]].tolist()) == sorted(second[rows[1]].tolist()) == [[0, 1], [1, 1]]


@pytest.mark.parametrize(("members", "others"), [(1, 1), (1, 100), (2, 2), (3, 3), (5, 5)])
def test_too_few_samples_for_random_splits_are_refused_with_their_numbers(members, others):
    with pytest.raises(ValueError, match=f"^{members} members and {others} others are too few"):
        shuffled_splits(np.repeat([True, False], [members, others]), splits=2, test_fraction=0.1, seed=0)


def test_a_test_fraction_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match=r"test_fraction must lie between 0 and 1, got 1\.5"):
        shuffled_splits(np.repeat([True, False], 50), splits=2, test_fraction=1.5, seed=0)
