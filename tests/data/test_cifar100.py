import numpy as np
import pytest

from raybench import data as datasets
from raybench.data.files import safe_pickle
from raybench.data.fixtures import write
from raybench.data.formats.cifar100 import NAMES, SUPERCLASSES
from raybench.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar") / "hundred"
    write("cifar100", folder, images_per_class=1)
    return folder


def test_the_hundred_classes_are_in_the_order_of_the_official_meta_file():
    # as the official file lists them
    known = {0: "apple", 1: "aquarium_fish", 2: "baby", 3: "bear", 10: "bowl", 23: "cloud", 50: "mouse", 69: "rocket"}
    assert {i: NAMES["fine"][i] for i in known} == known
    assert NAMES["fine"][-3:] == ["wolf", "woman", "worm"]
    assert len(set(NAMES["fine"])) == 100
    assert sorted(SUPERCLASSES) == list(SUPERCLASSES)
    assert {len(names) for names in SUPERCLASSES.values()} == {5}
    # places of fine classes among the superclasses, as the official files have them
    coarse_of = {fine: i for i, names in enumerate(SUPERCLASSES.values()) for fine in names}
    assert [coarse_of[name] for name in NAMES["fine"][:12]] == [4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14]


def test_fine_labels_and_superclasses_belong_to_the_same_images(root):
    fine = datasets.load("cifar100", root=root)
    coarse = datasets.load("cifar100", root=root, labels="coarse")
    assert (fine.num_classes, coarse.num_classes) == (100, 20)
    np.testing.assert_array_equal(fine.images, coarse.images)
    for a, b in zip(fine.labels, coarse.labels):
        assert fine.class_names[a] in SUPERCLASSES[coarse.class_names[b]]
    assert fine.part.tolist() == [0] * 100 + [1] * 100


def test_rows_are_red_green_and_blue_planes(root):
    data = datasets.load("cifar100", root=root / "cifar-100-python")
    row = safe_pickle.load(root / "cifar-100-python" / "train")["data"][7]
    np.testing.assert_array_equal(data.images[7].transpose(2, 0, 1).reshape(-1), row)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"labels": "all"}, "unknown labels of cifar100 'all'"), ({"std": "image"}, "unknown std of cifar100 'image'")],
)
def test_unknown_options_are_refused(root, options, message):
    with pytest.raises(UserError, match=message):
        datasets.load("cifar100", root=root, **options)


def test_a_file_without_the_asked_labels_is_refused(tmp_path, root):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        content = safe_pickle.load(root / "cifar-100-python" / name)
        del content["coarse_labels"]
        safe_pickle.save(content, folder / name)
    assert datasets.load("cifar100", root=tmp_path).num_samples == 200
    with pytest.raises(UserError, match="train: no key 'coarse_labels'"):
        datasets.load("cifar100", root=tmp_path, labels="coarse")
    (folder / "test").unlink()
    with pytest.raises(UserError, match=r"cifar100: .* lacks test \(expected: train, test\)"):
        datasets.load("cifar100", root=tmp_path)


def test_the_deviation_that_released_code_uses_is_the_mean_of_each_image_s_own(shared_data):
    data = datasets.load("cifar10", root=shared_data / "cifar10", std="per_image")
    assert data.std == (0.2023, 0.1994, 0.2010)
    own = data.pixels[data.part == 0][::4].astype(np.float32).std(axis=(1, 2)).mean(axis=0) / 255
    np.testing.assert_allclose(own, data.std, atol=3e-3)
    np.testing.assert_allclose(datasets.load("cifar10", root=shared_data / "cifar10").std, (0.2470, 0.2435, 0.2616))
