"""Data sets whose classes are folders: imagenet, image_folder, office_home."""

import shutil

import numpy as np
import pytest

from raybench import data as datasets
from raybench.data.fixtures import write
from raybench.data.formats.office_home import DOMAINS
from raybench.data.images import TEST, TRAIN, UNSEEN
from raybench.data.reading.decode_image import decode
from raybench.errors import UserError


def made(tmp_path, name, n=2, **options):
    write(name, tmp_path / name, images_per_class=n, **options)
    return tmp_path / name


def files(data):
    return [str(name) for name in data.images.files]


# -- imagenet ----------------------------------------------------------------------------------------------------------


def test_imagenet_classes_are_the_places_of_the_sorted_wnids(tmp_path):
    data = datasets.load("imagenet", root=made(tmp_path, "imagenet", 3, num_classes=4))
    wnids = sorted({name.split("/")[1] for name in files(data)})
    assert [wnids.index(name.split("/")[1]) for name in files(data)] == data.labels.tolist()
    assert [name.split("/")[0] for name in files(data)] == ["train"] * 12 + ["val"] * 12
    assert data.part.tolist() == [TRAIN] * 12 + [TEST] * 12
    assert files(data)[:12] == sorted(files(data)[:12])
    assert data.class_names == tuple(f"stripes {i}, pattern {i}" for i in range(4))


def test_imagenet_lists_files_in_the_order_of_torchvision(tmp_path):
    from torchvision.datasets import ImageFolder

    root = made(tmp_path, "imagenet", num_classes=3)
    data = datasets.load("imagenet", root=root)
    samples = [sample for part in ("train", "val") for sample in ImageFolder(root / part).samples]
    assert [(data.images.name(i), int(label)) for i, label in enumerate(data.labels)] == samples


def test_imagenet_opens_no_image_to_list_it(tmp_path):
    root = made(tmp_path, "imagenet", num_classes=2)
    before = datasets.load("imagenet", root=root).labels
    for path in root.rglob("*.JPEG"):
        path.write_bytes(b"")
    np.testing.assert_array_equal(datasets.load("imagenet", root=root).labels, before)


def test_imagenet_names_the_classes_that_only_one_part_has(tmp_path):
    root = made(tmp_path, "imagenet", num_classes=3)
    wnids = sorted(path.name for path in (root / "val").iterdir())
    shutil.rmtree(root / "val" / wnids[1])
    with pytest.raises(UserError, match=rf"train' contains 1 classes that 'val' does not: {wnids[1]};"):
        datasets.load("imagenet", root=root)
    shutil.rmtree(root / "train" / wnids[1])
    shutil.rmtree(root / "train" / wnids[0])
    with pytest.raises(UserError, match=rf"val' contains 1 classes that 'train' does not: {wnids[0]};"):
        datasets.load("imagenet", root=root)


def test_imagenet_as_the_archive_unpacks_is_refused_until_validation_images_are_sorted(tmp_path):
    root = made(tmp_path, "imagenet", num_classes=2)
    for path in list((root / "val").rglob("*.JPEG")):
        path.rename(root / "val" / path.name)
    with pytest.raises(UserError, match=r"val' contains 4 images next to its class folders"):
        datasets.load("imagenet", root=root)


def test_imagenet_with_an_empty_class_folder_is_refused(tmp_path):
    root = made(tmp_path, "imagenet", num_classes=2)
    wnid = min(path.name for path in (root / "train").iterdir())
    for path in (root / "train" / wnid).iterdir():
        path.unlink()
    with pytest.raises(UserError, match=rf"1 class folders contain no image: {wnid}"):
        datasets.load("imagenet", root=root)


def test_imagenet_without_a_file_of_names_is_named_by_wnid(tmp_path):
    root = made(tmp_path, "imagenet", num_classes=2)
    (root / "LOC_synset_mapping.txt").unlink()
    wnids = sorted(path.name for path in (root / "train").iterdir())
    assert datasets.load("imagenet", root=root).class_names == tuple(wnids)


def test_two_classes_of_one_name_can_be_told_apart(tmp_path):
    root = made(tmp_path, "imagenet", num_classes=3)
    wnids = sorted(path.name for path in (root / "train").iterdir())
    (root / "LOC_synset_mapping.txt").unlink()
    lines = [f"{wnid}\t{name}" for wnid, name in zip([*wnids, "n99999999"], ["crane", "ox", "crane", "ox"])]
    (root / "classnames.txt").write_text("\n".join(lines))
    assert datasets.load("imagenet", root=root).class_names == (f"crane ({wnids[0]})", "ox", f"crane ({wnids[2]})")


def test_a_class_without_a_name_in_the_file_is_refused(tmp_path):
    root = made(tmp_path, "imagenet", num_classes=2)
    path = root / "LOC_synset_mapping.txt"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match=r"LOC_synset_mapping\.txt: no name for 1 of 2 classes: n0"):
        datasets.load("imagenet", root=root)
    path.write_text("n01440764\n")
    with pytest.raises(UserError, match="line 1 is 'n01440764', expected a wnid and a name"):
        datasets.load("imagenet", root=root)


# -- image_folder ------------------------------------------------------------------------------------------------------


def test_image_folder_without_split_folders_is_one_part(tmp_path):
    data = datasets.load("image_folder", root=made(tmp_path, "image_folder", 3, num_classes=3, splits=()))
    assert data.part.tolist() == [TRAIN] * 9
    assert data.class_names == ("class_0", "class_1", "class_2")
    assert files(data)[:3] == ["class_0/0.JPG", "class_0/1.JPG", "class_0/more/deep/0.png"]
    assert decode(data.images.read(2), "x").shape == (40, 48, 3)


def test_image_folder_finds_known_split_folders_on_its_own(tmp_path):
    root = made(tmp_path, "image_folder", num_classes=2, splits=("unseen", "val", "train", "Test"))
    data = datasets.load("image_folder", root=root)
    assert [name.split("/")[0] for name in files(data)[::4]] == ["train", "Test", "unseen", "val"]
    assert data.part.tolist() == [TRAIN] * 4 + [TEST] * 4 + [UNSEEN] * 4 + [TEST] * 4
    assert data.labels.tolist() == [0, 0, 1, 1] * 4


def test_image_folder_with_any_other_folder_at_the_top_takes_them_for_classes(tmp_path):
    root = made(tmp_path, "image_folder", num_classes=2, splits=("train", "test", "sketch"))
    assert datasets.load("image_folder", root=root).class_names == ("sketch", "test", "train")
    with pytest.raises(UserError, match=r"unknown split folder in .*'sketch'.*allowed: test, train, unseen, val"):
        datasets.load("image_folder", root=root, split_depth=1)


@pytest.mark.parametrize(("depth", "pattern"), [(2, "{label}/{split}/{i}.png"), (3, "{label}/x/{split}/y/{i}.png")])
def test_image_folder_with_splits_below_the_classes(tmp_path, depth, pattern):
    for label in ("cat", "dog"):
        for split in ("test", "train", "unseen"):
            for i in range(2):
                path = tmp_path / pattern.format(label=label, split=split, i=i)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    data = datasets.load("image_folder", root=tmp_path, split_depth=depth)
    assert data.part.tolist() == [TRAIN] * 4 + [TEST] * 4 + [UNSEEN] * 4
    assert data.labels.tolist() == [0, 0, 1, 1] * 3
    assert data.class_names == ("cat", "dog")
    assert all(("train" in name) == (part == TRAIN) for name, part in zip(files(data), data.part))
    (tmp_path / "cat" / "stray.png").touch()
    with pytest.raises(UserError, match=rf"stray\.png' is above level {depth}"):
        datasets.load("image_folder", root=tmp_path, split_depth=depth)


def test_a_test_part_that_lacks_a_class_shifts_no_ids(tmp_path):
    root = made(tmp_path, "image_folder", num_classes=3)
    shutil.rmtree(root / "test" / "class_1")
    data = datasets.load("image_folder", root=root)
    assert data.labels[data.part == TEST].tolist() == [0, 0, 2, 2]


def test_a_test_part_with_a_class_of_its_own_is_refused(tmp_path):
    root = made(tmp_path, "image_folder", num_classes=2)
    (root / "train" / "class_0").rename(root / "elsewhere")
    shutil.rmtree(root / "elsewhere")
    with pytest.raises(UserError, match=r"test' contains classes that 'train' does not: class_0"):
        datasets.load("image_folder", root=root)


def test_image_folder_without_a_training_part_is_refused(tmp_path):
    root = made(tmp_path, "image_folder", num_classes=2, splits=("test", "val"))
    with pytest.raises(UserError, match="contains no folder 'train'"):
        datasets.load("image_folder", root=root)


@pytest.mark.parametrize("depth", [-1, True, "1", 1.5])
def test_a_split_depth_that_is_no_small_number_is_refused(tmp_path, depth):
    with pytest.raises(UserError, match="split_depth is"):
        datasets.load("image_folder", root=tmp_path, split_depth=depth)


def test_the_olivetti_faces_are_an_image_folder(shared_data):
    data = datasets.load("image_folder", root=shared_data / "orl_faces")
    assert data.num_samples == 400
    assert data.class_names == tuple(sorted(f"s{i}" for i in range(1, 41)))
    assert np.bincount(data.labels).tolist() == [10] * 40
    assert files(data)[:3] == ["s1/1.pgm", "s1/10.pgm", "s1/2.pgm"]
    assert decode(data.images.read(399), "x").shape == (28, 23, 3)


# -- office_home -------------------------------------------------------------------------------------------------------


def test_office_home_reads_one_domain_or_all(tmp_path):
    root = made(tmp_path, "office_home", num_classes=3)
    one = datasets.load("office_home", root=root, domain="Real World")
    assert {name.split("/")[0] for name in files(one)} == {"Real World"}
    assert one.labels.tolist() == [0, 0, 1, 1, 2, 2]
    every = datasets.load("office_home", root=root)
    assert list(dict.fromkeys(name.split("/")[0] for name in files(every))) == list(DOMAINS)
    assert every.num_samples == 4 * one.num_samples
    assert set(every.part.tolist()) == {TRAIN}


@pytest.mark.parametrize("folder", ["Real_World", "RealWorld", "real world"])
def test_office_home_domains_go_by_several_spellings(tmp_path, folder):
    root = made(tmp_path, "office_home", num_classes=2)
    (root / "Real World").rename(root / folder)
    data = datasets.load("office_home", root=root, domain="real_world")
    assert files(data)[0].startswith(f"{folder}/Thing_0/")


def test_office_home_is_found_in_the_folder_that_its_archive_makes(tmp_path):
    root = made(tmp_path, "office_home", num_classes=2)
    root.rename(tmp_path / "OfficeHomeDataset_10072016")
    assert datasets.load("office_home", root=tmp_path, domain="Art").num_samples == 4


def test_office_home_says_which_domain_is_unknown_missing_or_different(tmp_path):
    root = made(tmp_path, "office_home", num_classes=2)
    with pytest.raises(UserError, match="unknown domain of office_home 'Photo'"):
        datasets.load("office_home", root=root, domain="Photo")
    shutil.rmtree(root / "Clipart" / "Thing_1")
    with pytest.raises(UserError, match=r"Art' contains 1 classes that 'Clipart' does not: Thing_1"):
        datasets.load("office_home", root=root)
    shutil.rmtree(root / "Clipart")
    with pytest.raises(UserError, match=r"lacks Clipart \(expected: Art, Clipart"):
        datasets.load("office_home", root=root)
