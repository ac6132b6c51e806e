"""Data sets whose images a text file lists: cub200, domainnet126, list_file."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from raybench import data as datasets
from raybench.data.fixtures import write
from raybench.data.images import TEST, TRAIN
from raybench.data.reading.decode_image import decode
from raybench.errors import UserError


def made(tmp_path, name, n=2, **options):
    write(name, tmp_path / name, images_per_class=n, num_classes=3, **options)
    return tmp_path / name


def files(data):
    return [str(name) for name in data.images.files]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    """Return a function that unpacks the real images, as PACS/<domain>/<class>/<file>, where they are at hand."""

    def unpack(shared_data):
        root = tmp_path_factory.mktemp("pacs")
        for row in pq.read_table(shared_data / "pacs" / "pacs_4x7x20.parquet", columns=["image"]).to_pylist():
            path = root / row["image"]["path"].removeprefix("PACS/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["image"]["bytes"])
        return root

    return unpack


# -- cub200 ------------------------------------------------------------------------------------------------------------


def test_cub200_is_read_in_the_order_of_its_list(tmp_path):
    root = made(tmp_path, "cub200", 4)
    data = datasets.load("cub200", root=root)
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.class_names == ("Striped_Bird_0", "Striped_Bird_1", "Striped_Bird_2")
    assert set(data.part.tolist()) == {TRAIN}
    lines = (root / "CUB_200_2011" / "images.txt").read_text().splitlines()
    assert files(data) == [f"images/{line.split()[1]}" for line in lines]
    inside = datasets.load("cub200", root=root / "CUB_200_2011")
    assert inside.fingerprint() == data.fingerprint()


def test_cub200_can_keep_its_official_split(tmp_path):
    data = datasets.load("cub200", root=made(tmp_path, "cub200", 4), official_split=True)
    assert data.part.tolist() == [TRAIN] * 6 + [TEST] * 6
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2] * 2
    numbers = [int(name.split("_")[-2]) for name in files(data)]
    assert [number % 2 for number in numbers] == [1] * 6 + [0] * 6


def test_cub200_files_are_joined_by_image_id_not_by_line(tmp_path):
    root = made(tmp_path, "cub200", 2)
    before = datasets.load("cub200", root=root, official_split=True)
    for name in ("image_class_labels.txt", "train_test_split.txt", "classes.txt"):
        path = root / "CUB_200_2011" / name
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert datasets.load("cub200", root=root, official_split=True).fingerprint() == before.fingerprint()


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "image_class_labels.txt",
            lambda t: t.replace("6 3\n", ""),
            "1 image ids occur only here or only in images.txt: 6",
        ),
        ("image_class_labels.txt", lambda t: t.replace("6 3\n", "6 4\n"), "image 6 has '4', expected 1 to 3"),
        ("train_test_split.txt", lambda t: t.replace("6 0\n", "6 2\n"), "image 6 has '2', expected 0 or 1"),
        ("images.txt", lambda t: t + "7\n", "line 7 is '7', expected a unique number and a text"),
        ("images.txt", lambda t: t + t.splitlines()[0], "line 7 is '1 001.* expected a unique number"),
        ("images.txt", lambda t: t.replace("_0006_", "_0066_"), "1 of 6 listed images are missing"),
        ("classes.txt", lambda t: t.replace("3 003", "4 003"), "should run from 1 to 3 without gaps"),
        ("classes.txt", lambda t: "", "is empty"),
    ],
)
def test_cub200_refuses_files_that_do_not_fit_together(tmp_path, file, change, message):
    root = made(tmp_path, "cub200", 2)
    path = root / "CUB_200_2011" / file
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=message):
        datasets.load("cub200", root=root)


def test_cub200_names_the_files_that_are_missing(tmp_path):
    root = made(tmp_path, "cub200")
    (root / "CUB_200_2011" / "classes.txt").unlink()
    with pytest.raises(UserError, match=r"lacks classes\.txt"):
        datasets.load("cub200", root=root)


# -- domainnet126 ------------------------------------------------------------------------------------------------------


def test_domainnet126_reads_every_line_also_the_last(tmp_path):
    root = made(tmp_path, "domainnet126")
    lines = (root / "real_list.txt").read_text().splitlines()
    data = datasets.load("domainnet126", root=root)
    assert files(data) == [line.split()[0] for line in lines]
    assert data.labels.tolist() == [int(line.split()[1]) for line in lines]
    assert data.class_names == ("thing_0", "thing_1", "thing_2")
    (root / "real_list.txt").write_text("\n".join(lines))  # no line break at the end
    assert datasets.load("domainnet126", root=root).num_samples == len(lines)


@pytest.mark.parametrize("folder", ["", "splits", "image_list"])
def test_domainnet_s_own_lists_give_two_parts(tmp_path, folder):
    root = made(tmp_path, "domainnet126", 4, lists="train_test")
    (root / folder).mkdir(exist_ok=True)
    for path in list(root.glob("*.txt")):
        path.rename(root / folder / path.name)
    data = datasets.load("domainnet126", root=root, domain="sketch")
    assert data.part.tolist() == [TRAIN] * 6 + [TEST] * 6
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2] * 2


def test_domainnet126_refuses_unknown_domains_and_missing_lists(tmp_path):
    root = made(tmp_path, "domainnet126")
    with pytest.raises(UserError, match="unknown domain of domainnet126 'reel'; did you mean 'real'"):
        datasets.load("domainnet126", root=root, domain="reel")
    with pytest.raises(UserError, match=r"contains neither quickdraw_list\.txt nor quickdraw_train\.txt and"):
        datasets.load("domainnet126", root=root, domain="quickdraw")


def test_domainnet126_counts_the_images_that_are_missing(tmp_path):
    root = made(tmp_path, "domainnet126")
    for path in sorted((root / "real").rglob("*.jpg"))[:4]:
        path.unlink()
    with pytest.raises(UserError, match=r"real_list\.txt: 4 of 6 listed images are missing below .*real_000_000000"):
        datasets.load("domainnet126", root=root)


def test_the_real_sketches_of_pacs_are_read_by_lists_like_domainnet_s(shared_data, pacs):
    root = pacs(shared_data)
    (root / "splits").mkdir()
    for path in (shared_data / "pacs" / "splits").glob("sketch_*.txt"):
        (root / "splits" / path.name).write_bytes(path.read_bytes())
    data = datasets.load("domainnet126", root=root, domain="sketch")
    assert np.bincount(data.labels[data.part == TRAIN]).tolist() == [15] * 7
    assert np.bincount(data.labels[data.part == TEST]).tolist() == [5] * 7
    assert data.class_names == ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    assert decode(data.images.read(0), "x").shape == (227, 227, 3)


# -- list_file ---------------------------------------------------------------------------------------------------------


def test_a_list_and_a_test_list_are_two_parts_and_paths_may_hold_spaces(tmp_path):
    root = made(tmp_path, "list_file")
    data = datasets.load("list_file", root=root, file="train.txt", test_file="test.txt")
    assert data.part.tolist() == [TRAIN] * 6 + [TEST] * 6
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2] * 2
    assert data.class_names == ("class 0", "class 1", "class 2")
    assert files(data)[0] == "photos/class 0/train 0.jpg"


def test_the_only_list_is_found_and_several_must_be_named(tmp_path):
    root = made(tmp_path, "list_file")
    with pytest.raises(UserError, match=r"set option `file`.*contains test\.txt, train\.txt"):
        datasets.load("list_file", root=root)
    (root / "test.txt").unlink()
    assert datasets.load("list_file", root=root).num_samples == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png", "line 1 is 'a.png', expected a path, a space and a class id"),
        ("a.png 0\nb.png one\n", "line 2 is 'b.png one'.*dataset manifest"),
        ("a.png -1", "line 1 is 'a.png -1'"),
        ("a.png 1.0", "line 1 is"),
        ("\n \n", "lists no images"),
        ("a.png 0\nb.png 1\na.png 1", "1 images are listed more than once: a.png"),
        ("a.png 0\nc.png 1", "1 of 2 listed images are missing below .*: c.png"),
        ("a.png 123456789", "label 123456789 is out of range"),
    ],
)
def test_a_list_of_another_form_is_refused_by_line(tmp_path, text, message):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        datasets.load("list_file", root=tmp_path)


def test_lists_of_windows_and_empty_lines_are_read(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.png 0\r\n\r\nb.png\t1\r\n")
    data = datasets.load("list_file", root=tmp_path)
    assert files(data) == ["a.png", "b.png"]
    assert data.labels.tolist() == [0, 1]
    assert data.class_names == ("0", "1")


def test_an_image_in_both_lists_is_refused(tmp_path):
    (tmp_path / "a.png").touch()
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text("a.png 0\n")
    with pytest.raises(UserError, match="1 images are listed more than once"):
        datasets.load("list_file", root=tmp_path, file="one.txt", test_file="two.txt")


def test_the_lists_of_pacs_are_read(shared_data, pacs):
    root = pacs(shared_data)
    for part in ("train", "test"):
        (root / f"{part}.txt").write_bytes((shared_data / "pacs" / "splits" / f"photo_{part}.txt").read_bytes())
    data = datasets.load("list_file", root=root, file="train.txt", test_file="test.txt")
    assert np.bincount(data.labels).tolist() == [20] * 7
    assert int((data.part == TEST).sum()) == 35
