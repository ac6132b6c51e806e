import hashlib

import numpy as np
import pytest

from raybench import data as datasets
from raybench.data.fixtures import names, write
from raybench.data.fixtures.pictures import picture
from raybench.errors import UserError

OPTIONS = {"list_file": {"file": "train.txt", "test_file": "test.txt"}, "mucac": {"bounds": None}}


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", names())
def test_every_fixture_is_a_data_set_that_loads(tmp_path, name):
    write(name, tmp_path / "set", images_per_class=3)
    data = datasets.load(name, root=tmp_path / "set", **OPTIONS.get(name, {}))
    assert data.num_samples >= 2 * data.num_classes
    assert (data.part == 0).any()


def test_the_same_seed_writes_the_same_files_and_another_does_not(tmp_path):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        write("imagenet", tmp_path / folder, images_per_class=1, seed=seed, num_classes=2)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert set(hashes(tmp_path / "a")) == set(hashes(tmp_path / "c"))
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")


def test_pictures_of_a_class_can_be_told_from_those_of_others():
    generator = np.random.default_rng(0)

    def drawn(count):
        return np.array([[picture(c, generator).mean(axis=(0, 1)) for _ in range(count)] for c in range(10)])

    means = drawn(10).mean(axis=1)
    new = drawn(10)
    nearest = np.linalg.norm(new[:, :, None] - means, axis=-1).argmin(axis=-1)
    right = (nearest == np.arange(10)[:, None]).mean()
    assert right > 0.6  # by mean color alone, without the stripes
    assert not np.array_equal(picture(0, generator), picture(0, generator))


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "x.txt").touch()
    with pytest.raises(UserError, match="is not an empty folder; choose another"):
        write("imagenet", tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("imagenat", {}), "unknown fixture 'imagenat'; did you mean 'imagenet'"),
        (("imagenet", {"num_clases": 3}), "unknown option of fixture 'imagenet': 'num_clases'"),
        (("imagenet", {"generator": 3}), "unknown option of fixture 'imagenet': 'generator'"),
        (("imagenet", {"images_per_class": 0}), "images_per_class is 0; it should be at least 1"),
    ],
)
def test_unknown_names_and_options_are_refused_and_nothing_is_written(tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        write(given[0], tmp_path / "set", **given[1])
    assert not (tmp_path / "set").exists()
