import csv
import os
import shutil

import numpy as np
import pytest

from raybench import data as datasets
from raybench.data import fixtures
from raybench.data.formats.mufac import PARTS
from raybench.data.images import TEST, TRAIN, UNSEEN
from raybench.data.reading.decode_image import decode
from raybench.data.splits import make_splits
from raybench.errors import UserError

FILES = [file for _, file, _ in PARTS]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mufac") / "root"
    fixtures.write("mufac", folder, images_per_class=6, image_size=32)
    return folder


@pytest.fixture
def root(written, tmp_path):
    return shutil.copytree(written, tmp_path / "root")


def rows_of(folder, file):
    with (folder / file).open() as stream:
        return list(csv.DictReader(stream))


def rewrite(path, rows, rename=lambda name: name):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(map(rename, rows[0]))
        writer.writerows(row.values() for row in rows)


def test_rows_keep_the_order_of_the_files_and_val_is_test_and_test_is_unseen(root):
    data = datasets.load("mufac", root=root)
    rows = [(part, row) for part, file in zip((TRAIN, TEST, UNSEEN), FILES) for row in rows_of(root, file)]
    assert data.num_samples == len(rows) == 3 * 48
    assert data.part.tolist() == [part for part, _ in rows]
    assert data.labels.tolist() == ["abcdefgh".index(row["age_class"]) for _, row in rows]
    assert [str(name).rpartition("/")[2] for name in data.images.files] == [row["image_path"] for _, row in rows]
    assert data.class_names[0] == "a (0-6)"
    assert data.class_names[7] == "h (67-80)"
    folders = {
        part: {str(data.images.files[i]).partition("/")[0] for i in np.flatnonzero(data.part == part)}
        for part in (0, 1, 2)
    }
    assert folders == {TRAIN: {"train_images"}, TEST: {"val_images"}, UNSEEN: {"test_images"}}


def test_the_number_in_a_file_name_is_not_the_age_on_the_picture(root):
    rows = rows_of(root, FILES[0])
    labels = datasets.load("mufac", root=root).labels
    at_collection = [row["image_path"].split("_")[3] for row in rows]
    same_person = [i for i in range(0, 48, 2) if labels[i] != labels[i + 1]]
    assert same_person
    assert all(at_collection[i] == at_collection[i + 1] for i in same_person)


def test_a_person_is_a_role_in_a_family_and_a_family_is_a_group_on_request(root):
    people = [(row["family_id"], row["person_id"]) for file in FILES for row in rows_of(root, file)]
    groups = datasets.load("mufac", root=root).groups
    assert len({person for _, person in people}) < len(set(people)) == len(set(groups.tolist()))
    assert len(set(zip(people, groups.tolist()))) == len(set(people))
    families = datasets.load("mufac", root=root, group="family").groups
    assert len(set(zip([family for family, _ in people], families.tolist()))) == len({family for family, _ in people})


def test_images_that_no_row_names_are_never_taken(root):
    before = datasets.load("mufac", root=root).images.files
    shutil.copy(root / str(before[0]), root / "test_images" / "F0999_AGE_F_40_a1.jpg")
    assert datasets.load("mufac", root=root).images.files.tolist() == before.tolist()


def test_a_file_whose_name_differs_in_case_is_found(root):
    before = datasets.load("mufac", root=root)
    content = before.images.read(9)
    assert {str(name)[-3:] for name in before.images.files} == {"jpg", "JPG"}
    for name in map(str, before.images.files):
        os.rename(root / name, root / (name[:-3] + ("jpg" if name.endswith("JPG") else "JPG")))
    after = datasets.load("mufac", root=root)
    assert after.images.read(9) == content
    assert decode(content, "a face").shape == (32, 32, 3)
    assert [str(name).lower() for name in after.images.files] == [str(name).lower() for name in before.images.files]


def test_the_other_copy_with_its_folders_and_column_names_reads_the_same(root):
    before = datasets.load("mufac", root=root)
    for i, path in enumerate(sorted((root / "train_images").iterdir())):
        folder = root / ("train_images_part1", "part2", "forget_images", "retain_images")[i % 4]
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    (root / "train_images").rmdir()
    spelling = {"age_class": "age_group", "person_id": "identity"}
    for file in FILES:
        rewrite(root / file, rows_of(root, file), lambda name: spelling.get(name, name))
    after = datasets.load("mufac", root=root)
    for name in ("labels", "part", "groups"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


@pytest.mark.parametrize("prefix", ["{}/", "./{}/", "some/other/disk/{}/", "/home/someone/{}/", "..\\{}\\"])
def test_a_path_with_folders_means_the_file_of_that_name(root, prefix):
    before = datasets.load("mufac", root=root).images.files.tolist()
    for file, folder in zip(FILES, ("train_images", "val_images", "test_images")):
        rows = rows_of(root, file)
        rewrite(root / file, [row | {"image_path": prefix.format(folder) + row["image_path"]} for row in rows])
    after = datasets.load("mufac", root=root).images.files.tolist()
    assert [name.removeprefix("./") for name in after] == before


def test_family_and_role_are_read_from_the_file_names_where_no_column_tells(root):
    before = datasets.load("mufac", root=root).groups
    for file in FILES:
        rewrite(root / file, [{key: row[key] for key in ("age_class", "image_path")} for row in rows_of(root, file)])
    np.testing.assert_array_equal(datasets.load("mufac", root=root).groups, before)


def test_columns_that_do_not_say_who_it_is_are_listed(root):
    rows = rows_of(root, FILES[0])
    for i, row in enumerate(rows):
        (root / "train_images" / row["image_path"]).rename(root / "train_images" / f"{i}.jpg")
        row["image_path"] = f"{i}.jpg"
    rewrite(root / FILES[0], rows, lambda name: {"family_id": "household"}.get(name, name))
    with pytest.raises(
        UserError, match=r"custom_train.*columns are household, person_id, age_class, image_path.*add family_id"
    ):
        datasets.load("mufac", root=root)


def test_a_missing_column_is_named_with_those_that_are_there(root):
    rewrite(root / FILES[1], rows_of(root, FILES[1]), lambda name: {"age_class": "years"}.get(name, name))
    with pytest.raises(UserError, match=r"val.*needs a column age_class or .*columns: family_id, person_id, years"):
        datasets.load("mufac", root=root)


def test_missing_images_are_counted_and_the_first_is_named(root):
    rows = rows_of(root, FILES[0])
    for row in rows[:3]:
        (root / "train_images" / row["image_path"]).unlink()
    with pytest.raises(UserError, match=f"3 of 48 image files are missing: {rows[0]['image_path']}.*train_images/"):
        datasets.load("mufac", root=root)


def test_what_is_wrong_with_the_files_or_options_is_said(root):
    with pytest.raises(UserError, match=r"group is 'role' \(allowed: person, family\)"):
        datasets.load("mufac", root=root, group="role")
    with pytest.raises(UserError, match="cannot be downloaded"):
        datasets.load("mufac", root=root, download=True)
    rows = rows_of(root, FILES[2])
    rewrite(root / FILES[2], [*rows[:-1], rows[-1] | {"age_class": "i"}])
    with pytest.raises(UserError, match=r"unknown age class 'i' \(allowed: a, b"):
        datasets.load("mufac", root=root)
    (root / FILES[1]).unlink()
    with pytest.raises(UserError, match=r"lacks custom_val_dataset\.csv"):
        datasets.load("mufac", root=root)


def test_the_released_cut_splits_a_family_and_says_so(root):
    data = datasets.load("mufac", root=root, group="family")
    sizes = {"train": None, "calibration": 0.5, "test": None, "unseen": None}
    with pytest.warns(UserWarning, match=r"'first_rows' splits 1 groups \(identities\): 5 have samples in both"):
        splits = make_splits(data, sizes, {"rule": "first_rows", "count": 22}, 0)
    assert splits.ids("forget").tolist() == list(range(22))
    assert data.groups[21] == data.groups[22]
    assert set(data.part[splits.ids("unseen")]) == {UNSEEN}
    assert len(splits.ids("unseen")) == 48
