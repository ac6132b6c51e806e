import numpy as np
import pytest
import torch

from raybench.metrics.functions.features import class_drift, linear_probe


def clusters(n, d=6, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    return 3 * np.eye(3, d)[labels] + spread * rng.normal(size=(n, d)), labels


def test_a_linear_probe_reads_separable_features_and_ignores_their_scale():
    train, labels = clusters(300, spread=0.3)
    test, wanted = clusters(200, seed=1, spread=0.3)
    scale = np.array([1, 1e6, 1e-6, 1, 1, 1])
    plain, scaled = linear_probe(train, labels, test, wanted), linear_probe(train * scale, labels, test * scale, wanted)
    assert plain.value == scaled.value > 0.99
    assert (plain.n, plain.interval) == (200, "wilson")


def test_a_linear_probe_finds_nothing_in_noise_and_survives_a_dead_unit():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(600, 5)), rng.integers(2, size=600)
    features[:, 2] = 0
    estimate = linear_probe(features[:300], labels[:300], features[300:], labels[300:])
    assert estimate.low < 0.5 < estimate.high


def test_a_linear_probe_of_one_class_is_refused():
    with pytest.raises(ValueError, match="two classes"):
        linear_probe(np.eye(4), [1, 1, 1, 1], np.eye(4), [1, 1, 1, 1])


def test_drift_is_zero_for_an_untouched_model():
    features, labels = clusters(60)
    drift = class_drift(torch.tensor(features), features, labels)
    np.testing.assert_allclose(drift.cosine, 0, atol=1e-12)
    assert drift.euclidean.tolist() == drift.centroid.tolist() == [0, 0, 0]
    assert drift.counts.sum() == 60


def test_drift_names_the_class_that_was_moved():
    reference = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    moved = reference.copy()
    moved[[1, 3]] = [[0.0, -2.0], [0.0, 4.0]]
    drift = class_drift(moved, reference, [4, 9, 4, 9])
    assert drift.classes.tolist() == [4, 9]
    np.testing.assert_allclose(drift.cosine, [0, 1])
    np.testing.assert_allclose(drift.euclidean, [0, (4 + 2) / 2 / 2])
    np.testing.assert_allclose(drift.centroid, [0, abs(-4 + 2) / 2 / 2])


def test_drift_without_a_scale_is_refused():
    with pytest.raises(ValueError, match="no scale"):
        class_drift(np.ones((3, 2)), np.zeros((3, 2)), [0, 1, 2])
    with pytest.raises(ValueError, match="same samples"):
        class_drift(np.ones((3, 2)), np.ones((4, 2)), [0, 1, 2])


@pytest.mark.parametrize("scale", [2.0**-700, 2.0**700])
def test_the_scale_of_all_features_changes_neither_drift_nor_probe(scale):
    (x, labels), (y, _) = clusters(90), clusters(90, seed=1)
    for part, expected in zip(class_drift(scale * x, scale * y, labels), class_drift(x, y, labels)):
        np.testing.assert_allclose(part, expected, rtol=1e-12)
    assert linear_probe(scale * x, labels, scale * y, labels) == linear_probe(x, labels, y, labels)
