import warnings

import numpy as np
import pytest

from raybench.data import class_lists
from raybench.data.forget_rules import select
from raybench.data.forget_rules.framework.spec import Candidates
from raybench.errors import UserError

IMAGENET = tuple(f"n{i:08d}" for i in range(1000))


def ids(name):
    return class_lists.read(class_lists.built_in(name), IMAGENET)


@pytest.fixture
def imagenet():
    return Candidates(np.arange(2000), np.arange(2000) % 1000, None, IMAGENET)


@pytest.mark.parametrize(
    ("name", "count", "unique", "animals"),
    [
        ("random100", 100, 100, 41),
        ("random200", 200, 200, 85),
        ("random300", 300, 300, 121),
        ("top100_cub", 100, 100, 96),
        ("top200_cub", 200, 200, 180),
        ("top300_cub", 300, 300, 240),
        ("top100_domainnet_real", 100, 100, 23),
        ("top200_domainnet_real", 200, 200, 38),
        ("top300_domainnet_real", 300, 300, 63),
        ("top100_officehome_real", 100, 100, 0),
        ("top200_officehome_real", 200, 199, 25),
        ("top300_officehome_real", 300, 299, 59),
    ],
)
def test_a_shipped_list_has_the_published_ids_repeated_ones_included(name, count, unique, animals):
    found = ids(name)
    assert (len(found), len(set(found)), sum(i < 398 for i in found)) == (count, unique, animals)
    assert set(found) <= set(range(1000))


def test_the_twelve_lists_and_no_others_are_shipped():
    assert len(class_lists.names()) == 12
    with pytest.raises(UserError, match="unknown class list 'top100_cup'; did you mean 'top100_cub'"):
        class_lists.built_in("top100_cup")


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("random100", "random200", 25),
        ("random200", "random300", 63),
        ("random100", "random300", 21),
        ("random100", "top100_cub", 13),
        ("random100", "top100_officehome_real", 11),
        ("random100", "top100_domainnet_real", 12),
        ("top100_officehome_real", "top100_domainnet_real", 22),
    ],
)
def test_lists_overlap_as_published(first, second, shared):
    assert len(set(ids(first)) & set(ids(second))) == shared


def test_some_rankings_are_nested_and_others_are_not():
    assert ids("top200_cub")[:100] == ids("top100_cub")
    assert set(ids("top200_cub")) - set(ids("top300_cub")) == {664, 366}
    assert ids("top300_domainnet_real")[:200] == ids("top200_domainnet_real")
    assert ids("top200_domainnet_real")[:100] == ids("top100_domainnet_real")
    assert set(ids("top100_officehome_real")) - set(ids("top200_officehome_real")) == {478, 733, 526}
    assert set(ids("top200_officehome_real")) - set(ids("top300_officehome_real")) == {18, 143, 631}
    assert ids("top100_cub")[:5] == [14, 98, 13, 11, 17]
    assert ids("top100_domainnet_real")[:4] == [604, 594, 71, 543]


@pytest.mark.parametrize(
    ("name", "twice", "unique"), [("top200_officehome_real", 709, 199), ("top300_officehome_real", 546, 299)]
)
def test_a_class_listed_twice_is_forgotten_once_with_a_warning(imagenet, name, twice, unique):
    with pytest.warns(UserWarning, match=f"{name} names {twice} more than once; {unique} classes are forgotten"):
        chosen = select("class", imagenet, list=name)
    assert len(chosen) == 2 * unique
    assert set(imagenet.labels[chosen]) == set(ids(name))


def test_a_list_without_repeats_warns_of_nothing(imagenet):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(select("class", imagenet, list="random100")) == 200


def test_ids_beyond_the_classes_of_the_dataset_are_refused():
    small = Candidates(np.arange(20), np.arange(20) % 10, None, tuple("abcdefghij"))
    with pytest.raises(UserError, match="543 is not a class; ids run from 0 to 9"):
        select("class", small, list="random100")


@pytest.mark.parametrize("content", ["1\n\n7\n", "1\r\n\r\n7\r\n", "\ufeff 1 \nn00000007", "n00000001\r\n7"])
def test_a_file_may_have_blank_lines_windows_line_ends_and_names(imagenet, tmp_path, content):
    (tmp_path / "forget.txt").write_bytes(content.encode())
    assert select("class", imagenet, file=tmp_path / "forget.txt").tolist() == [1, 7, 1001, 1007]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "lists no class"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"1000\n", "1000 is not a class; ids run from 0 to 999"),
        (b"n00000001x\n", "unknown class 'n00000001x'; did you mean 'n00000001'"),
    ],
)
def test_a_file_that_names_no_classes_is_refused(imagenet, tmp_path, content, message):
    (tmp_path / "forget.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        select("class", imagenet, file=tmp_path / "forget.txt")
    with pytest.raises(UserError, match=r"no file .*gone\.txt"):
        select("class", imagenet, file=tmp_path / "gone.txt")


def test_a_number_that_is_the_name_of_another_class_is_refused(tmp_path):
    digits = Candidates(np.arange(4), np.arange(4) % 2, None, ("1", "0"))
    (tmp_path / "forget.txt").write_text("1\n")
    with pytest.raises(UserError, match="'1' is both a class id and the name of class 0"):
        select("class", digits, file=tmp_path / "forget.txt")


def test_a_list_cannot_be_given_together_with_classes(imagenet):
    with pytest.raises(UserError, match="exactly one of classes, file and list"):
        select("class", imagenet, classes=[1], list="random100")


def test_a_superclass_of_cifar100_is_its_five_classes():
    from raybench.data.formats.cifar100 import NAMES

    names = NAMES["fine"]
    candidates = Candidates(np.arange(200), np.arange(200) % 100, None, tuple(names))
    rows = select("superclass", candidates, superclasses="large_carnivores")
    assert {names[c] for c in candidates.labels[rows]} == {"bear", "leopard", "lion", "tiger", "wolf"}
    assert len(rows) == 10
    assert len(select("superclass", candidates, superclasses=["people", "trees"])) == 20
    spaced = Candidates(candidates.ids, candidates.labels, None, tuple(name.replace("_", " ") for name in names))
    assert len(select("superclass", spaced, superclasses="trees")) == 10
    with pytest.raises(UserError, match="unknown superclass 'tree'; did you mean 'trees'"):
        select("superclass", candidates, superclasses="tree")


def test_superclasses_of_another_dataset_come_from_a_file(tmp_path):
    candidates = Candidates(np.arange(8), np.arange(8) % 4, None, ("cat", "dog", "boat", "car"))
    (tmp_path / "super.csv").write_text("class,superclass\ncat,animal\n1,animal\nboat,vehicle\n")
    assert select("superclass", candidates, superclasses="animal", file=tmp_path / "super.csv").tolist() == [0, 1, 4, 5]
    with pytest.raises(UserError, match="'boat' is not a class of CIFAR-100"):
        select("superclass", Candidates(np.arange(3), np.arange(3), None, ("boy", "boat", "x")), superclasses="people")
    (tmp_path / "super.csv").write_text("class,superclass\ncat,animal\n0,vehicle\n")
    with pytest.raises(UserError, match="class 0 belongs to both 'animal' and 'vehicle'"):
        select("superclass", candidates, superclasses="animal", file=tmp_path / "super.csv")
    (tmp_path / "super.csv").write_text("name,superclass\ncat,animal\n")
    with pytest.raises(UserError, match=r"needs a column class \(columns: name, superclass\)"):
        select("superclass", candidates, superclasses="animal", file=tmp_path / "super.csv")
