import numpy as np
import pytest

from raybench.data.mislabel import mislabel
from raybench.errors import UserError


def test_exactly_the_named_samples_change_and_none_keeps_its_label(make_data):
    data = make_data(300)
    noisy, ids = mislabel(data, 0.1, 0)
    np.testing.assert_array_equal(np.flatnonzero(noisy.labels != data.labels), ids)
    assert len(ids) == 30


def test_each_class_and_part_is_mislabeled_alike(make_data):
    data = make_data(300, test=90)
    _, ids = mislabel(data, 0.1, 4)
    assert np.bincount(data.labels[ids]).tolist() == [10, 10, 10]
    assert data.part[ids].sum() == 9


def test_wrong_labels_are_uniform_over_the_other_classes(make_data):
    data = make_data(12000, classes=4, size=1)
    noisy, ids = mislabel(data, 0.5, 0)
    counts = np.histogram2d(data.labels[ids], noisy.labels[ids], bins=4)[0]
    assert np.diag(counts).sum() == 0
    # 1500 samples a class over 3 wrong labels: mean 500, standard deviation 18
    assert np.abs(counts[~np.eye(4, dtype=bool)] - 500).max() < 5 * 18


def test_the_seed_decides_and_the_given_data_is_left_alone(make_data):
    data = make_data(300)
    before = data.fingerprint()
    first, second, other = mislabel(data, 0.2, 1), mislabel(data, 0.2, 1), mislabel(data, 0.2, 2)
    assert first[0].fingerprint() == second[0].fingerprint() != other[0].fingerprint()
    assert data.fingerprint() == before


def test_no_noise_changes_nothing(make_data):
    data = make_data()
    noisy, ids = mislabel(data, 0, 0)
    assert len(ids) == 0
    assert noisy.fingerprint() == data.fingerprint()


@pytest.mark.parametrize("fraction", [1.0, -0.1, "half", True])
def test_a_fraction_outside_its_range_is_refused(make_data, fraction):
    with pytest.raises(UserError, match="fraction is"):
        mislabel(make_data(), fraction, 0)


def test_one_class_has_no_wrong_label(make_data):
    with pytest.raises(UserError, match="at least two classes"):
        mislabel(make_data(classes=1), 0.1, 0)
