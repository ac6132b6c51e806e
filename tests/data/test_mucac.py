import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from raybench import data as datasets
from raybench.data import fixtures
from raybench.data.forget_rules import select
from raybench.data.forget_rules.framework.spec import Candidates
from raybench.data.formats.mucac import parts
from raybench.data.images import LEFT_OUT, TEST, TRAIN, UNSEEN
from raybench.data.reading.decode_dataset import decode_all
from raybench.data.splits import make_splits
from raybench.data.transforms.views import View
from raybench.errors import UserError

BOUNDS = (4, 12, 20)
IMAGES = "CelebAMask-HQ/CelebA-HQ-img"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mucac") / "root"
    fixtures.write("mucac", folder, images_per_class=4, identities=30, image_size=16)
    return folder


@pytest.fixture
def root(written, tmp_path):
    return shutil.copytree(written, tmp_path / "root")


def attribute_lines(root):
    lines = (root / "CelebA-HQ-attribute.txt").read_text().splitlines()
    return lines[:2], [line.split() for line in lines[2:]]


def test_labels_are_gender_smiling_young_by_their_place_in_the_line(root):
    data = datasets.load("mucac", root=root, bounds=BOUNDS)
    _, rows = attribute_lines(root)
    assert data.class_names == ("gender", "smiling", "young")
    assert data.labels.tolist() == [[int(row[i] == "1") for i in (21, 32, 40)] for row in rows]
    for task, place, names in (("gender", 21, ("female", "male")), ("smiling", 32, ("not smiling", "smiling"))):
        single = datasets.load("mucac", root=root, bounds=BOUNDS, task=task)
        assert single.labels.tolist() == [int(row[place] == "1") for row in rows]
        assert single.class_names == names


def test_any_attribute_can_be_the_task(root):
    data = datasets.load("mucac", root=root, bounds=None, task="Eyeglasses")
    assert data.class_names == ("not Eyeglasses", "Eyeglasses")
    assert data.labels.tolist() == [int(row[16] == "1") for row in attribute_lines(root)[1]]
    with pytest.raises(UserError, match="unknown task of mucac 'Eyeglases'; did you mean 'Eyeglasses'"):
        datasets.load("mucac", root=root, bounds=None, task="Eyeglases")


def test_images_are_in_the_order_of_their_numbers_whatever_the_order_of_the_lines(root):
    before = datasets.load("mucac", root=root, bounds=BOUNDS)
    for name, start in (("CelebA-HQ-identity.txt", 0), ("CelebA-HQ-attribute.txt", 2)):
        lines = (root / name).read_text().splitlines()
        (root / name).write_text("\n".join(lines[:start] + sorted(lines[start:])) + "\n")
    after = datasets.load("mucac", root=root, bounds=BOUNDS)
    assert [str(name) for name in after.images.files] == [f"{IMAGES}/{i}.jpg" for i in range(75)]
    assert after.fingerprint() == before.fingerprint()


def test_identities_are_numbered_by_first_appearance_and_some_have_many_images(root):
    groups = datasets.load("mucac", root=root, bounds=BOUNDS).groups
    assert list(dict.fromkeys(groups.tolist())) == list(range(30))
    counts = np.bincount(groups)
    assert counts.max() > 1
    assert counts[:10].sum() > counts[-10:].sum()


def test_the_published_bounds_give_the_published_numbers_of_identities():
    people = np.arange(6217)
    part = parts(people, (190, 1250, 4855))
    train = np.flatnonzero(part == TRAIN)
    forget = select(
        "id_ranges", Candidates(train, np.zeros(len(train), dtype=np.int64), people[train]), ranges=[[190, 1250]]
    )
    assert [(part == TEST).sum(), len(forget), len(train) - len(forget), (part == UNSEEN).sum()] == [
        190,
        1060,
        3605,
        1362,
    ]


def test_roles_by_bounds_share_nobody(root):
    data = datasets.load("mucac", root=root, bounds=BOUNDS)
    sizes = {"train": None, "calibration": 0.3, "test": None, "unseen": None}
    splits = make_splits(data, sizes, {"rule": "id_ranges", "ranges": [[4, 12]]}, 0)
    people = {role: set(data.groups[ids].tolist()) for role, ids in splits.role.items()}
    assert people["forget"] == set(range(4, 12))
    assert people["retain"] == set(range(12, 20))
    assert people["unseen"] == set(range(20, 30))
    assert people["test"] | people["calibration"] == set(range(4))


def test_without_bounds_there_is_one_part_and_roles_are_drawn_by_person(root):
    data = datasets.load("mucac", root=root, bounds=None)
    assert set(data.part) == {TRAIN}
    splits = make_splits(data, {"train": 0.6, "test": None}, {"rule": "identity", "fraction": 0.2}, 0)
    owners = [set(data.groups[ids].tolist()) for ids in splits.role.values()]
    assert sum(map(len, owners)) == 30


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((190, 1250, 4855), "leave no unseen samples: the identities run from 0 to 29"),
        ((1250, 190, 4855), "three increasing identities"),
        ((4, 12), "three increasing identities"),
        ((0, 12, 20), "three increasing identities"),
        ((4, 12.5, 20), "three increasing identities"),
    ],
)
def test_bounds_that_leave_a_part_empty_are_refused(root, bounds, message):
    with pytest.raises(UserError, match=message):
        datasets.load("mucac", root=root, bounds=bounds)


def test_missing_images_are_refused_with_their_number_or_left_out_with_a_warning(root):
    for i in (7, 50):
        (root / IMAGES / f"{i}.jpg").unlink()
    with pytest.raises(UserError, match=r"2 of 75 image files are missing: 7\.jpg, 50\.jpg"):
        datasets.load("mucac", root=root, bounds=BOUNDS)
    with pytest.warns(UserWarning, match=r"2 of 75 image files are missing and left out: 7\.jpg, 50\.jpg"):
        data = datasets.load("mucac", root=root, bounds=BOUNDS, on_missing="list")
    assert np.flatnonzero(data.part == LEFT_OUT).tolist() == [7, 50]
    assert len(data.images.sizes()) == 75
    assert data.images.fingerprint(content=True) != data.images.fingerprint(content=False)
    decoded = decode_all(data, View(size=16))[0]
    assert decoded.images.shape == (75, 16, 16, 3)
    splits = make_splits(data, {"train": None, "test": None, "unseen": None}, {"rule": "identity", "count": 2}, 0)
    assert sum(splits.sizes().values()) == 73


def test_a_set_without_any_image_is_refused_even_when_missing_ones_are_listed(root):
    shutil.rmtree(root / IMAGES)
    with pytest.raises(UserError, match="75 of 75 image files are missing"):
        datasets.load("mucac", root=root, bounds=BOUNDS, on_missing="list")


def test_the_official_attribute_file_and_other_places_of_the_images_are_read(root):
    before = datasets.load("mucac", root=root, bounds=BOUNDS)
    (root / "CelebA-HQ-attribute.txt").rename(root / "CelebAMask-HQ/CelebAMask-HQ-attribute-anno.txt")
    (root / IMAGES).rename(root / "CelebA-HQ-img")
    after = datasets.load("mucac", root=root, bounds=BOUNDS)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert str(after.images.files[0]) == "CelebA-HQ-img/0.jpg"


def test_a_value_that_is_no_label_is_refused_only_where_the_task_reads_it(root):
    head, rows = attribute_lines(root)
    rows[5][21] = "0"
    (root / "CelebA-HQ-attribute.txt").write_text("\n".join(head + [" ".join(row) for row in rows]))
    for task in ("multi_label", "gender", "Male"):
        with pytest.raises(UserError, match=r"attribute Male of 5\.jpg is 0, not -1 or 1 \(so are 1 of 75"):
            datasets.load("mucac", root=root, bounds=BOUNDS, task=task)
    assert datasets.load("mucac", root=root, bounds=BOUNDS, task="smiling").num_samples == 75


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("identity", lambda lines: lines[:-1], r"different images: '74\.jpg' is in only one"),
        ("identity", lambda lines: [*lines, lines[0]], r"line 76: 0\.jpg is listed twice"),
        ("identity", lambda lines: ["0.jpg someone", *lines[1:]], "line 1: '0.jpg someone' is not a file name and"),
        ("attribute", lambda lines: ["76", *lines[1:]], "gives 76 images, but 75 lines list 75"),
        ("attribute", lambda lines: [*lines[:-1], lines[-1][:-3]], r"74\.jpg has 39 values for 40 attributes"),
        ("attribute", lambda lines: lines[1:], "expected the number of images"),
    ],
)
def test_text_files_that_are_cut_or_disagree_are_refused(root, file, change, message):
    path = root / f"CelebA-HQ-{file}.txt"
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(UserError, match=message):
        datasets.load("mucac", root=root, bounds=BOUNDS)


def test_a_root_without_the_text_files_names_them(tmp_path):
    with pytest.raises(UserError, match=r"contains no CelebA-HQ-identity\.txt or identity\.txt"):
        datasets.load("mucac", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "parquet", "task", "people", "positive"),
    [
        ("lfw", "lfw_identity_gender", "gender", 72, 641),
        ("cmu_faces", "cmu_faces_identity_attributes", "Eyeglasses", 14, None),
    ],
)
def test_real_faces_in_this_layout_are_read(shared_data, tmp_path, name, parquet, task, people, positive):
    for file in ("identity.txt", "attribute.txt"):
        shutil.copyfile(shared_data / name / "mucac_style" / file, tmp_path / file)
    table = pq.read_table(
        shared_data / name / f"{parquet}.parquet", columns=["image", "label", "identity_id", "mucac_name"]
    )
    for row in table.select(["image", "mucac_name"]).to_pylist():
        (tmp_path / row["mucac_name"]).write_bytes(row["image"]["bytes"])
    data = datasets.load("mucac", root=tmp_path, bounds=None, task=task)
    by_name = {row["mucac_name"]: row for row in table.drop_columns("image").to_pylist()}
    expected = [by_name[str(file)] for file in data.images.files]
    assert data.groups.tolist() == [row["identity_id"] for row in expected]
    assert data.labels.tolist() == [row["label"] for row in expected]
    assert len(set(data.groups.tolist())) == people
    assert positive is None or data.labels.sum() == positive
    with pytest.raises(UserError, match=r"attribute (Male|Smiling|Young) .* is 0, not -1 or 1"):
        datasets.load("mucac", root=tmp_path, bounds=None)
