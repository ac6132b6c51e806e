import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.data.forget_rules import select
from raybench.data.forget_rules.framework.spec import Candidates
from raybench.data.forget_rules.identity import label_counts, swap_to_match_labels
from raybench.data.splits import make_splits
from raybench.errors import UserError


def people(n=200, groups=40, classes=3, *, seed=0, multi=False):
    generator = np.random.default_rng(seed)
    owner = generator.integers(0, groups, n) * 3  # numbers with gaps
    leaning = generator.integers(0, classes, 3 * groups)
    labels = np.where(generator.random(n) < 0.8, leaning[owner], generator.integers(0, classes, n)).astype(np.int64)
    if multi:
        labels = np.stack([labels == c for c in range(classes)], axis=1).astype(np.uint8)
    return Candidates(np.arange(1000, 1000 + n), labels, owner, tuple(f"c{c}" for c in range(classes)))


def imbalance(candidates, chosen, part):
    """Return the chi-squared distance of the forgotten labels from their share, by a plain loop."""
    total = 0.0
    rows = np.isin(candidates.ids, chosen)
    for c in np.unique(candidates.labels):
        everyone = int((candidates.labels == c).sum())
        total += (int((candidates.labels[rows] == c).sum()) - part * everyone) ** 2 / everyone
    return total


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), fraction=st.floats(0.05, 0.9), stratified=st.booleans(), multi=st.booleans())
def test_whole_identities_are_forgotten_and_the_fraction_is_met_to_within_one(seed, fraction, stratified, multi):
    candidates = people(seed=seed % 5, multi=multi)
    chosen = select("identity", candidates, fraction=fraction, seed=seed, stratified=stratified)
    assert len(candidates.split_groups(chosen)) == 0
    largest = np.unique(candidates.groups, return_counts=True)[1].max()
    assert abs(len(chosen) - fraction * 200) <= largest


@pytest.mark.parametrize("stratified", [False, True])
def test_a_count_is_of_identities_and_the_seed_decides_which(stratified):
    candidates = people()
    rows = [select("identity", candidates, count=7, seed=s, stratified=stratified) - 1000 for s in (1, 1, 2)]
    assert [len(set(candidates.groups[r].tolist())) for r in rows] == [7, 7, 7]
    assert rows[0].tolist() == rows[1].tolist() != rows[2].tolist()


def test_stratified_labels_are_never_worse_and_mostly_much_nearer_their_share():
    candidates = people()
    plain, balanced = (
        np.array(
            [
                imbalance(candidates, select("identity", candidates, fraction=0.2, seed=s, stratified=b), 0.2)
                for s in range(10)
            ]
        )
        for b in (False, True)
    )
    assert (balanced <= plain + 1e-9).all()
    assert balanced.mean() < 0.1 * plain.mean()


def test_no_single_exchange_would_bring_the_labels_nearer():
    candidates = people(120, 15)
    groups, codes = np.unique(candidates.groups, return_inverse=True)
    chosen = np.zeros(len(groups), dtype=bool)
    chosen[:5] = True
    swap_to_match_labels(chosen, label_counts(candidates.labels, codes, len(groups)), 0.3, np.arange(len(groups)))
    reached = imbalance(candidates, candidates.ids[chosen[codes]], 0.3)
    for leaving in np.flatnonzero(chosen):
        for coming in np.flatnonzero(~chosen):
            other = chosen.copy()
            other[[leaving, coming]] = False, True
            assert imbalance(candidates, candidates.ids[other[codes]], 0.3) >= reached - 1e-6


def test_every_identity_is_equally_likely_to_be_forgotten():
    candidates = people(60, 12)
    present = np.unique(candidates.groups)
    times = np.zeros(len(present))
    for seed in range(400):
        rows = select("identity", candidates, count=3, seed=seed) - 1000
        times += np.isin(present, candidates.groups[rows])
    mean = 400 * 3 / len(present)
    assert np.abs(times - mean).max() < 5 * np.sqrt(mean)


def test_identities_come_from_a_list_or_a_file(tmp_path):
    candidates = people()
    (tmp_path / "who.txt").write_text("6\n0\n")
    expected = candidates.ids[np.isin(candidates.groups, [0, 6])]
    np.testing.assert_array_equal(select("identity", candidates, ids=[0, 6]), expected)
    np.testing.assert_array_equal(select("identity", candidates, file=tmp_path / "who.txt"), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of fraction, count, ids and file"),
        ({"count": 2, "ids": [0]}, "exactly one of fraction, count, ids and file"),
        ({"ids": [0, 1, 2]}, r"no training sample belongs to 1, 2 \(there are \d+ identities, from 0 to"),
        ({"ids": [0], "stratified": True}, "stratified needs fraction or count"),
        ({"fraction": 1.0}, "fraction is 1.0"),
        ({"count": 0}, "count is 0"),
        ({"file": "gone.txt"}, "'identity': no file 'gone.txt'"),
    ],
)
def test_what_the_rule_cannot_do_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        select("identity", people(), **options)


def test_a_set_without_identities_is_refused_by_the_rules_that_need_them():
    without = Candidates(np.arange(5), np.zeros(5, dtype=np.int64))
    for rule, options in (("identity", {"count": 1}), ("id_ranges", {"ranges": [[0, 1]]})):
        with pytest.raises(UserError, match="has no groups"):
            select(rule, without, **options)


def test_first_rows_takes_the_smallest_ids_and_names_the_group_that_it_splits():
    candidates = Candidates(np.arange(50, 62), np.zeros(12, dtype=np.int64), np.arange(12) // 4)
    with pytest.warns(UserWarning, match=r"'first_rows' splits 1 groups \(identities\): 1 have samples in both"):
        assert select("first_rows", candidates, count=6).tolist() == list(range(50, 56))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert select("first_rows", candidates, count=8).tolist() == list(range(50, 58))
    with pytest.raises(UserError, match="count is -1; it should be a whole number from 1 to 11"):
        select("first_rows", candidates, count=-1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=3))
def test_ranges_of_identities_are_closed_below_and_open_above(pairs):
    candidates = Candidates(np.arange(100), np.zeros(100, dtype=np.int64), np.arange(100) // 2)
    ranges = [[start, start + length] for start, length in pairs]
    wanted = [i for i in range(100) if any(a <= i // 2 < b for a, b in ranges)]
    assert select("id_ranges", candidates, ranges=ranges).tolist() == wanted
    by_sample = [[2 * a, 2 * b] for a, b in ranges]
    assert select("id_ranges", candidates, ranges=by_sample, of="sample").tolist() == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ranges": [[5, 5]]}, r"\[5, 5\] is not a range"),
        ({"ranges": [[5, 9, 12]]}, "is not a range"),
        ({"ranges": [5, 9]}, "5 is not a range"),
        ({"ranges": [["a", "b"]]}, "is not a range"),
        ({"ranges": [[40, 50]]}, r"no training group lies in \[40, 50\); they run from 0 to 9"),
        ({"ranges": []}, "selects no sample"),
        ({"ranges": [[0, 5]], "of": "person"}, r"of is 'person' \(allowed: group, sample\)"),
    ],
)
def test_ranges_that_hold_nothing_or_are_none_are_refused(options, message):
    candidates = Candidates(np.arange(20), np.zeros(20, dtype=np.int64), np.arange(20) // 2)
    with pytest.raises(UserError, match=message):
        select("id_ranges", candidates, **options)


def test_ranges_of_samples_that_split_a_group_warn():
    candidates = Candidates(np.arange(20), np.zeros(20, dtype=np.int64), np.arange(20) // 2)
    with pytest.warns(UserWarning, match="splits 2 groups"):
        assert select("id_ranges", candidates, ranges=[[1, 4], [6, 7]], of="sample").tolist() == [1, 2, 3, 6]


def test_a_split_by_identity_keeps_retain_and_forget_apart(make_data):
    data = make_data(120, groups=np.arange(120) // 5)
    splits = make_splits(
        data, {"train": 60, "test": None}, {"rule": "identity", "fraction": 0.3, "stratified": True}, 1
    )
    assert not set(data.groups[splits.ids("retain")]) & set(data.groups[splits.ids("forget")])
