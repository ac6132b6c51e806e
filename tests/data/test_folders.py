import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.data.files.folders import (
    class_folders,
    images_below,
    images_of_classes,
    missing_files,
    require_files,
    scan,
)
from raybench.errors import UserError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_hidden_entries_and_files_that_are_no_images_are_passed_over(tmp_path):
    touch(
        tmp_path, ".DS_Store", "._a.jpg", ".hidden/b.jpg", "Thumbs.db", "README", "a.JPG", "b.Jpeg", "c.txt", "d/e.png"
    )
    assert scan(tmp_path) == (["d"], ["a.JPG", "b.Jpeg"])


@pytest.mark.parametrize("extension", ["jpg", "JPEG", "png", "bmp", "pgm", "ppm", "tif", "TIFF", "webp"])
def test_every_usual_extension_is_an_image(tmp_path, extension):
    touch(tmp_path, f"x.{extension}")
    assert scan(tmp_path)[1] == [f"x.{extension}"]


def test_images_lie_at_any_depth_and_come_sorted(tmp_path):
    touch(tmp_path, "b/1.png", "a/z/2.png", "c.png", "a/1.png", "B.png")
    assert list(images_below(tmp_path)) == ["B.png", "a/1.png", "a/z/2.png", "b/1.png", "c.png"]


def test_a_folder_whose_name_ends_like_an_image_is_a_folder(tmp_path):
    touch(tmp_path, "cats.jpg/1.png")
    assert class_folders(tmp_path) == ["cats.jpg"]


def test_linked_folders_and_images_are_followed(tmp_path):
    touch(tmp_path, "real/1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "set" / "x.png").symlink_to(tmp_path / "real" / "1.png")
    assert scan(tmp_path / "set") == (["cat"], ["x.png"])


def test_a_folder_that_links_to_itself_ends_in_an_error(tmp_path):
    touch(tmp_path, "a/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    with pytest.raises(UserError, match="cannot be listed"):
        images_below(tmp_path)


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    touch(tmp_path, "train")
    with pytest.raises(UserError, match=r"train' is a file, expected a folder"):
        class_folders(tmp_path / "train")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        class_folders(tmp_path / "nowhere")


def test_images_beside_class_folders_are_refused_by_name(tmp_path):
    touch(tmp_path, "cat/1.png", "stray.png")
    with pytest.raises(UserError, match=r"1 images next to its class folders: stray\.png; move each image"):
        class_folders(tmp_path)


def test_a_folder_without_class_folders_is_refused(tmp_path):
    with pytest.raises(UserError, match="contains no class folders"):
        class_folders(tmp_path)


def test_empty_class_folders_are_named(tmp_path):
    touch(tmp_path, "ant/1.png", "bee/.DS_Store", "cat/notes.txt")
    with pytest.raises(UserError, match=r"2 class folders contain no image: bee, cat \(images are \.jpg"):
        images_of_classes(tmp_path, "", class_folders(tmp_path))


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    try:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))).touch()
    except OSError:
        pytest.skip("this disk takes no such names")
    with pytest.raises(UserError, match="is not UTF-8"):
        scan(tmp_path)


def test_names_in_other_scripts_are_read(tmp_path):
    touch(tmp_path, "\u732b/\u00e9.png")
    assert images_of_classes(tmp_path, "", class_folders(tmp_path))[0].tolist() == ["\u732b/\u00e9.png"]


names = st.lists(st.sampled_from(["a.png", "b.png", "x/a.png", "x/y/b.JPG", "x/c.png", "A.png"]), unique=True)


@given(present=names, listed=names)
@settings(max_examples=30, deadline=None)
def test_missing_files_are_those_that_do_not_exist(present, listed):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        touch(root, *present)
        assert missing_files(root, listed) == [i for i, name in enumerate(listed) if not (root / name).exists()]


def test_missing_files_are_counted_and_the_first_are_named(tmp_path):
    touch(tmp_path, "a.png")
    with pytest.raises(
        UserError, match=r"list: 6 of 7 listed images are missing below .*: 0\.png, 1\.png, .*4\.png, \.\.\."
    ):
        require_files(tmp_path, ["a.png", *(f"{i}.png" for i in range(6))], listed_in="list")


@given(order=st.permutations(range(6)))
@settings(max_examples=10, deadline=None)
def test_the_order_in_which_files_were_made_does_not_matter(order):
    files = ["b/10.png", "b/9.png", "a/x.png", "a/X.png", "a/deep/1.png", "c/1.png"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        touch(root, *(files[i] for i in order))
        found, labels = images_of_classes(root, "", class_folders(root))
    assert found.tolist() == ["a/X.png", "a/deep/1.png", "a/x.png", "b/10.png", "b/9.png", "c/1.png"]
    np.testing.assert_array_equal(labels, [0, 0, 0, 1, 1, 2])
