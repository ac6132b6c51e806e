import sys
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.data import forget_rules
from raybench.data.forget_rules import select
from raybench.data.forget_rules.framework.spec import Candidates, forget_rule
from raybench.data.splits import make_splits
from raybench.errors import UserError


@pytest.fixture
def candidates():
    ids = np.arange(100, 160, dtype=np.int64)
    return Candidates(ids, np.arange(60) % 3, None, ("cat", "dog", "frog"), np.arange(60) % 10 == 0)


def test_the_shipped_rules_are_found_by_their_names():
    assert set(forget_rules.names()) >= {"class", "ids", "random", "identity", "first_rows", "id_ranges", "hard"}
    assert all(forget_rules.spec(name).source for name in forget_rules.names())


def test_random_takes_a_fraction_or_a_count_and_its_seed_decides(candidates):
    chosen = select("random", candidates, fraction=0.2, seed=1)
    assert len(chosen) == 12
    np.testing.assert_array_equal(chosen, select("random", candidates, count=12, seed=1))
    assert (chosen != select("random", candidates, count=12, seed=2)).any()


def test_random_takes_classes_and_mislabeled_samples_in_their_share(candidates):
    rows = select("random", candidates, count=30, seed=5) - 100
    assert np.bincount(candidates.labels[rows]).tolist() == [10, 10, 10]
    assert candidates.mislabeled[rows].sum() == 3


def test_every_training_sample_is_equally_likely_to_be_forgotten(candidates):
    times = np.zeros(160)
    for seed in range(600):
        times[select("random", candidates, count=7, seed=seed)] += 1
    # binomial(600, 7/60): mean 70, standard deviation 7.9
    assert np.abs(times[100:] - 70).max() < 5 * 7.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of fraction and count"),
        ({"fraction": 0.1, "count": 3}, "exactly one of fraction and count"),
        ({"fraction": 1.5}, "fraction is 1.5"),
        ({"fraction": "half"}, "fraction is 'half'"),
        ({"count": 2.5}, "count is 2.5"),
        ({"count": 0}, "count is 0"),
        ({"count": 61}, "whole number from 1 to 59"),
        ({"count": 60}, "selects all 60 training samples"),
        ({"fraction": 0.001}, "selects no sample"),
        ({"fractoin": 0.1}, "unknown option of forget rule 'random': 'fractoin'; did you mean 'fraction'"),
    ],
)
def test_random_refuses_what_it_cannot_do(candidates, options, message):
    with pytest.raises(UserError, match=message):
        select("random", candidates, **options)


@pytest.mark.parametrize("classes", [1, "dog", [1], ["dog", 1]])
def test_class_takes_ids_and_names(candidates, classes):
    np.testing.assert_array_equal(select("class", candidates, classes=classes), np.arange(101, 160, 3))


def test_class_of_a_multi_label_task_is_every_carrier_of_the_label():
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=np.uint8)
    chosen = select("class", Candidates(np.arange(4), labels, None, ("male", "young")), classes="young")
    assert chosen.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("dogs", "unknown class 'dogs'; did you mean 'dog'"),
        (3, "3 is not a class; ids run from 0 to 2"),
        (True, "True is not a class"),
        ([], "selects no sample"),
        ([0, 1, 2], "selects all 60"),
    ],
)
def test_class_refuses_what_is_not_there(candidates, classes, message):
    with pytest.raises(UserError, match=message):
        select("class", candidates, classes=classes)


def test_class_refuses_a_class_without_training_samples(candidates):
    without = Candidates(candidates.ids[:2], candidates.labels[:2], None, candidates.class_names)
    with pytest.raises(UserError, match="no training sample has class 2"):
        select("class", without, classes=[0, 2])


@pytest.mark.parametrize("form", ["list", "lines", "csv", "parquet"])
def test_ids_come_from_a_list_or_any_kind_of_file(candidates, form, tmp_path):
    wanted = [150, 101, 120]
    path = tmp_path / ("forget.parquet" if form == "parquet" else "forget.csv")
    if form == "lines":
        path.write_text("150\n101\n\n120\n")
    elif form == "csv":
        path.write_text('\ufeffreason,id\r\nrequest,150\r\n"moved, left",101\r\nrequest,120\r\n', encoding="utf-8")
    elif form == "parquet":
        pq.write_table(pa.table({"name": ["a", "b", "c"], "id": wanted}), path)
    options = {"ids": wanted} if form == "list" else {"file": str(path)}
    assert select("ids", candidates, **options).tolist() == [101, 120, 150]


def test_ids_listed_twice_are_taken_once_with_a_warning(candidates):
    with pytest.warns(UserWarning, match="1 ids are listed more than once"):
        assert select("ids", candidates, ids=[101, 101, 102]).tolist() == [101, 102]


def test_ids_that_are_not_training_samples_are_listed(candidates):
    with pytest.raises(
        UserError, match=r"7 ids that are not training samples: 0, 1, 2, 3, 4, \.\.\..*between 100 and 159"
    ):
        select("ids", candidates, ids=[0, 1, 2, 3, 4, 5, 999, 101])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "selects no sample"),
        ("cat\n", "value 1 is 'cat', not a sample id"),
        ("101\n1.5\n", "value 2 is '1.5'"),
        ("a,b\n1,2\n", r"no column 'id' \(first line: a, b\)"),
        ("name,id\nx\n", "line 'x' has no column 'id'"),
        ("9" * 30, "not a sample id"),
    ],
)
def test_a_file_without_proper_ids_is_refused_by_name(candidates, tmp_path, content, message):
    path = tmp_path / "forget.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        select("ids", candidates, file=path)


def test_files_that_are_missing_or_broken_are_refused_by_name(candidates, tmp_path):
    with pytest.raises(UserError, match=r"no file .*gone\.csv"):
        select("ids", candidates, file=tmp_path / "gone.csv")
    for name, message in {"broken.parquet": "not a readable Parquet", "broken.csv": "neither text nor CSV"}.items():
        (tmp_path / name).write_bytes(b"PAR1\xff\xfe\x00")
        with pytest.raises(UserError, match=f"{name}: {message}"):
            select("ids", candidates, file=tmp_path / name)


@pytest.mark.parametrize("options", [{}, {"ids": [101], "file": "x"}])
def test_ids_needs_exactly_one_source(candidates, options):
    with pytest.raises(UserError, match="exactly one of ids and file"):
        select("ids", candidates, **options)


@pytest.mark.parametrize("given", [101, "101", [101.5], [True]])
def test_ids_that_are_no_list_of_whole_numbers_are_refused(candidates, given):
    with pytest.raises(UserError, match=r"ids: (expected a list|value 1)"):
        select("ids", candidates, ids=given)


def test_an_unknown_rule_names_the_nearest_and_a_missing_option_is_named(candidates):
    with pytest.raises(UserError, match="did you mean 'random'"):
        select("randm", candidates)
    with pytest.raises(UserError, match="'first_rows' needs count"):
        select("first_rows", candidates)
    with pytest.raises(UserError, match="'class' needs exactly one of classes, file and list"):
        select("class", candidates)


def test_a_rule_of_the_users_own_that_works_by_identity_may_not_cut_a_group(make_data, monkeypatch):
    @forget_rule(source="none", whole_groups=True)
    def careless(candidates, *, first=1):
        return candidates.ids[:first]

    module = ModuleType("my_rules")
    module.careless = careless
    monkeypatch.setitem(sys.modules, "my_rules", module)
    data = make_data(groups=np.arange(60) // 6)
    rule = {"rule": "my_rules.careless", "first": 6}
    assert len(make_splits(data, {"train": 30}, rule, 0).ids("forget")) == 6
    with pytest.raises(UserError, match="retain and forget share 1 groups"):
        make_splits(data, {"train": 30}, rule | {"first": 7}, 0)
