import numpy as np
import pytest

from raybench import data as datasets
from raybench.data.fixtures import write
from raybench.data.images import TEST, TRAIN
from raybench.errors import UserError


@pytest.fixture
def root(tmp_path):
    write("tiny_imagenet", tmp_path / "tiny", images_per_class=3, num_classes=4)
    return tmp_path / "tiny"


def files(data):
    return [str(name) for name in data.images.files]


def test_both_parts_are_read_and_classes_are_sorted_wnids_not_lines_of_wnids_txt(root):
    data = datasets.load("tiny_imagenet", root=root)
    wnids = sorted(path.name for path in (root / "train").iterdir())
    assert (root / "wnids.txt").read_text().split() != wnids
    annotated = dict(line.split("\t")[:2] for line in (root / "val/val_annotations.txt").read_text().splitlines())
    for name, label, part in zip(files(data), data.labels, data.part):
        wnid = name.split("/")[1] if part == TRAIN else annotated[name.rpartition("/")[2]]
        assert wnids[label] == wnid
    assert data.part.tolist() == [TRAIN] * 12 + [TEST] * 12
    assert data.class_names == tuple(f"stripes {i}, pattern" for i in range(4))
    assert not any(name.startswith("test/") for name in files(data))


@pytest.mark.parametrize("inner", ["", "images"])
@pytest.mark.parametrize("left_behind", [True, False])
def test_sorted_validation_images_get_the_same_ids(root, inner, left_behind):
    before = datasets.load("tiny_imagenet", root=root)
    contents = [before.images.read(i) for i in range(before.num_samples)]
    wnids = sorted(path.name for path in (root / "train").iterdir())
    for name, label in zip(files(before)[12:], before.labels[12:]):
        target = root / "val" / wnids[label] / inner / name.rpartition("/")[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        (root / name).rename(target)
    if not left_behind:
        (root / "val" / "images").rmdir()
        (root / "val" / "val_annotations.txt").unlink()
    after = datasets.load("tiny_imagenet", root=root)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert [after.images.read(i) for i in range(after.num_samples)] == contents


def test_the_fixture_with_sorted_validation_images_is_read(tmp_path):
    write("tiny_imagenet", tmp_path / "tiny", images_per_class=2, num_classes=3, val="sorted")
    data = datasets.load("tiny_imagenet", root=tmp_path / "tiny")
    assert np.bincount(data.labels[data.part == TEST]).tolist() == [2, 2, 2]


def test_a_calibration_folder_is_appended_to_the_test_part(tmp_path):
    write("tiny_imagenet", tmp_path / "tiny", images_per_class=2, num_classes=3, calibration=True)
    data = datasets.load("tiny_imagenet", root=tmp_path / "tiny")
    assert [name.split("/")[0] for name in files(data)] == ["train"] * 6 + ["val"] * 6 + ["cal"] * 6
    assert data.part.tolist() == [TRAIN] * 6 + [TEST] * 12
    assert data.labels[12:].tolist() == [0, 0, 1, 1, 2, 2]


def change_annotations(root, change):
    path = root / "val" / "val_annotations.txt"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda lines: [*lines[:-1], "val_99.JPEG\tn00000000\t0\t0\t1\t1\n"],
            "unknown class in .* line 12: 'n00000000'",
        ),
        (lambda lines: [lines[0], "val_1.JPEG n01440764\n"], "line 2 is .* expected a file name, a tab and a wnid"),
        (lambda lines: lines[:-1], "does not list 1 images of val/images: val_11.JPEG"),
        (lambda lines: [*lines, lines[0]], "lists 1 images more than once"),
        (lambda lines: [*lines, lines[0].replace("val_0", "val_77")], "1 of 13 listed images are missing .*val_77"),
    ],
)
def test_annotations_that_do_not_fit_the_images_are_refused(root, change, message):
    change_annotations(root, change)
    with pytest.raises(UserError, match=message):
        datasets.load("tiny_imagenet", root=root)


def test_missing_annotations_are_named(root):
    (root / "val" / "val_annotations.txt").unlink()
    with pytest.raises(UserError, match=r"val_annotations\.txt' is missing; it names the classes"):
        datasets.load("tiny_imagenet", root=root)


def test_classes_that_wnids_txt_does_not_list_are_named(root):
    path = root / "wnids.txt"
    first, *rest = path.read_text().split()
    path.write_text("\n".join(rest))
    with pytest.raises(UserError, match=rf"train' contains 1 classes that 'wnids\.txt' does not: {first}"):
        datasets.load("tiny_imagenet", root=root)
    path.write_text("\n".join([first, *rest, "n99999999"]))
    with pytest.raises(UserError, match=r"wnids\.txt' contains 1 classes that 'train' does not: n99999999"):
        datasets.load("tiny_imagenet", root=root)
