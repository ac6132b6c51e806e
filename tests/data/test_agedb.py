import shutil

import numpy as np
import pytest

from raybench import data as datasets
from raybench.data import fixtures
from raybench.data.files.csv_columns import read_csv
from raybench.data.images import TEST, TRAIN
from raybench.data.splits import make_splits
from raybench.errors import UserError


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agedb") / "root"
    fixtures.write("agedb", folder, images_per_class=4, identities=10, image_size=8)
    return folder


@pytest.fixture
def root(written, tmp_path):
    return shutil.copytree(written, tmp_path / "root")


def faces(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"not looked at")
    return folder


def test_files_are_in_the_order_of_their_numbers_with_age_and_person_from_their_names(root):
    data = datasets.load("agedb", root=root)
    fields = [str(name).removeprefix("AgeDB/").removesuffix(".jpg").split("_") for name in data.images.files]
    assert [int(number) for number, *_ in fields] == list(range(40))
    assert data.labels.tolist() == [int(age) // 10 for *_, age, _ in fields]
    assert len(set(zip((name for _, name, *_ in fields), data.groups.tolist()))) == 10
    assert data.class_names == tuple(f"{d}0-{d}9" if d else "0-9" for d in range(10))
    assert set(data.part) == {TRAIN}


def test_a_hundred_years_and_more_are_the_last_class(tmp_path):
    folder = faces(tmp_path, "0_A_99_f.jpg", "1_A_100_f.jpg", "2_B_101_m.jpg", "3_B_3_m.jpg")
    assert datasets.load("agedb", root=folder).labels.tolist() == [9, 9, 9, 0]
    ages = datasets.load("agedb", root=folder, target="age")
    assert ages.labels.tolist() == [99, 100, 100, 3]
    assert ages.class_names == tuple(str(years) for years in range(101))


def test_a_table_gives_folds_and_the_same_labels_and_people(root):
    plain = datasets.load("agedb", root=root)
    data = datasets.load("agedb", root=root, file="agedb.csv")
    columns = read_csv(root / "agedb.csv")
    assert data.part.tolist() == [TEST if fold == "0" else TRAIN for fold in columns["fold"]]
    np.testing.assert_array_equal(data.labels, plain.labels)
    np.testing.assert_array_equal(data.groups, plain.groups)
    assert data.images.files.tolist() == plain.images.files.tolist()


def test_the_three_columns_of_the_source_are_enough_and_people_come_from_the_names(root):
    columns = read_csv(root / "agedb.csv")
    lines = ["age,path,fold"] + [",".join(row) for row in zip(columns["age"], columns["image_path"], columns["fold"])]
    (root / "three.csv").write_text("\r\n".join(lines))
    given = datasets.load("agedb", root=root, file="agedb.csv")
    assert datasets.load("agedb", root=root, file="three.csv").fingerprint() == given.fingerprint()


def test_folds_that_share_people_are_refused_unless_identities_are_set_aside(root):
    columns = read_csv(root / "agedb.csv")
    lines = ["age,image_path,fold"]
    lines += [f"{age},{path},{i % 3}" for i, (age, path) in enumerate(zip(columns["age"], columns["image_path"]))]
    (root / "mixed.csv").write_text("\n".join(lines))
    sizes, forget = {"train": None, "test": None}, {"rule": "random", "count": 3}
    with pytest.raises(UserError, match=r"share \d+ groups"):
        make_splits(datasets.load("agedb", root=root, file="mixed.csv"), sizes, forget, 0)
    data = datasets.load("agedb", root=root, file="mixed.csv", group="none")
    assert make_splits(data, sizes, forget, 0).sizes()["test"] == 14


def test_a_table_that_says_nothing_of_people_warns(tmp_path):
    faces(tmp_path, "x.jpg", "y.jpg")
    (tmp_path / "ages.csv").write_text("age,image_path\n35.0,x.jpg\n40,y.jpg\n")
    with pytest.warns(UserWarning, match="has no identities"):
        data = datasets.load("agedb", root=tmp_path, file="ages.csv")
    assert data.groups is None
    assert data.labels.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("age,image_path,fold\n35,x.jpg,1\n", "fold 0 is the test split, but the folds are 1"),
        ("age,image_path,fold\n35,x.jpg,first\n", "fold 'first' is not a whole number"),
        ("age,image_path\nold,x.jpg\n", r"the age of x\.jpg is 'old'"),
        ("years,image_path\n35,x.jpg\n", "needs a column age .columns: years, image_path"),
        ("age,image_path\n35,gone.jpg\n", r"1 of 1 image files are missing: gone\.jpg"),
        ("age,image_path\n35\n", "line 2: 1 cells, but 2 columns"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_what_is_wrong(tmp_path, content, message):
    faces(tmp_path, "x.jpg")
    (tmp_path / "ages.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        datasets.load("agedb", root=tmp_path, file="ages.csv")


def test_an_image_called_otherwise_is_named_and_other_files_are_passed_over(tmp_path):
    folder = faces(tmp_path / "AgeDB", "10_Maria_Callas_35_f.jpg", "9_B_20_m.JPG", ".DS_Store", "readme.txt")
    data = datasets.load("agedb", root=tmp_path)
    assert [str(name) for name in data.images.files] == ["AgeDB/9_B_20_m.JPG", "AgeDB/10_Maria_Callas_35_f.jpg"]
    faces(folder, "face.jpg")
    with pytest.raises(UserError, match=r"1 image files are named differently: face\.jpg"):
        datasets.load("agedb", root=tmp_path)


def test_options_that_do_not_exist_are_refused(root, tmp_path):
    with pytest.raises(UserError, match=r"target is 'years' \(allowed: decade, age\)"):
        datasets.load("agedb", root=root, target="years")
    with pytest.raises(UserError, match=r"group is 'family' \(allowed: identity, none\)"):
        datasets.load("agedb", root=root, group="family")
    with pytest.raises(UserError, match="it has no images"):
        datasets.load("agedb", root=faces(tmp_path / "empty"))
