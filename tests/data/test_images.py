from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from raybench import data as datasets
from raybench import registry
from raybench.data.images import DatasetSpec, channel_statistics, dataset
from raybench.errors import UserError


def test_the_fingerprint_changes_with_every_array_and_name(make_data):
    data = make_data()
    images, labels, part = data.images.copy(), data.labels.copy(), data.part.copy()
    images[3, 1, 1, 0] ^= 1
    labels[5] = (labels[5] + 1) % 3
    part[7] = 1
    others = [
        replace(data, images=images),
        replace(data, labels=labels),
        replace(data, part=part),
        replace(data, class_names=("a", "b", "c")),
        replace(data, mean=(0.5, 0.4, 0.31)),
        replace(data, groups=np.arange(60)),
    ]
    prints = [other.fingerprint() for other in [data, *others]]
    assert len(set(prints)) == len(prints)
    assert make_data().fingerprint() == data.fingerprint()


def test_the_fingerprint_does_not_depend_on_memory_layout(make_data):
    data = make_data()
    assert replace(data, images=np.asfortranarray(data.images)).fingerprint() == data.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((60, 8, 8, 3))}, "images should be uint8"),
        ({"images": np.zeros((60, 8, 8, 2), dtype=np.uint8)}, "1 or 3 channels"),
        ({"labels": np.zeros(59, dtype=np.int64)}, r"labels should be int64 \(60,\)"),
        ({"labels": np.full(60, 3)}, "labels run from 3 to 3, but 3 class names allow 0 to 2"),
        ({"labels": np.zeros((60, 2), dtype=np.uint8)}, r"labels should be uint8 \(60, 3\)"),
        ({"part": np.full(60, 3, dtype=np.uint8)}, "part contains 3"),
        ({"groups": np.zeros(60)}, "groups should be int64"),
        ({"std": (1.0, 1.0, 0.0)}, "std above 0"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(make_data, change, message):
    with pytest.raises(UserError, match=message):
        replace(make_data(), **change)


def test_label_columns_make_a_multi_label_task(make_data):
    data = replace(make_data(), labels=np.ones((60, 3), dtype=np.uint8))
    assert (data.task, data.num_classes) == ("multi_label", 3)


def test_channel_statistics_are_those_of_the_float_pixels(make_data):
    data = make_data()
    mean, std = channel_statistics(data.images)
    scaled = data.images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 1, 2)), rtol=1e-12)


def test_digits_are_the_scans_on_the_full_gray_scale():
    data = datasets.load("digits")
    assert data.images.shape == (1797, 8, 8, 1)
    assert set(np.unique(data.images)) == {round(v * 255 / 16) for v in range(17)}
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.part.max() == 0


def test_every_dataset_states_its_source_and_the_files_it_needs():
    for name, function in registry.discover("raybench.data.formats", DatasetSpec).items():
        spec = function.raybench_spec
        assert spec.source, name
        assert bool(spec.needs) == (name != "digits"), name


def test_an_unknown_dataset_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'cifar10'"):
        datasets.load("cifar-10")


def test_an_unknown_option_is_refused():
    with pytest.raises(UserError, match="unknown option of dataset 'digits': 'size'"):
        datasets.load("digits", size=3)


def test_a_missing_root_says_which_files_are_expected(tmp_path):
    with pytest.raises(UserError, match=r"needs `root`.*data_batch_1.*test_batch"):
        datasets.load("cifar10")
    with pytest.raises(UserError, match=r"nowhere.*is not a folder.*train-images-idx3-ubyte"):
        datasets.load("fashion_mnist", root=tmp_path / "nowhere")


def test_a_dataset_of_the_users_own_is_loaded_by_its_import_path(make_data, monkeypatch):
    @dataset(source="none")
    def noise(root, *, download=False, n=60):
        return make_data(n)

    module = ModuleType("my_datasets")
    module.noise = noise
    monkeypatch.setitem(__import__("sys").modules, "my_datasets", module)
    assert datasets.load("my_datasets.noise", n=12).num_samples == 12
