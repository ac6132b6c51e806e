import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from raybench.metrics.features import feature_drift, linear_probe_accuracy


def clouds(rng, n, spread, classes=3, d=8):
    labels = rng.integers(classes, size=n)
    return (3 * np.eye(classes, d)[labels] + spread * rng.normal(size=(n, d))).astype("f4"), labels


# -- the probe ---------------------------------------------------------------------------------------------------------


def test_the_probe_is_a_logistic_regression_on_standardized_retain_features():
    rng = np.random.default_rng(0)
    (retain, known), (test, wanted) = clouds(rng, 200, 2.0), clouds(rng, 150, 2.0)
    scaler = StandardScaler().fit(retain)
    probe = LogisticRegression(C=1.0, max_iter=1000).fit(scaler.transform(retain), known)
    found = linear_probe_accuracy(test, wanted, retain, known)
    assert found.value == pytest.approx(probe.score(scaler.transform(test), wanted))
    assert (found.n, found.interval) == (150, "wilson")


def test_at_most_as_many_retain_samples_as_the_limit_are_taken_and_from_everywhere():
    rng = np.random.default_rng(1)
    (retain, known), (test, wanted) = clouds(rng, 100, 2.0), clouds(rng, 400, 2.0)
    order = np.argsort(known, kind="stable")  # sorted by class, where the first ones would be of one class
    retain, known = retain[order], known[order]
    rows = [0, 14, 28, 42, 57, 71, 85]
    found = linear_probe_accuracy(test, wanted, retain, known, limit=7)
    assert found == linear_probe_accuracy(test, wanted, retain[rows], known[rows])
    assert linear_probe_accuracy(test, wanted, retain, known, limit=100) == linear_probe_accuracy(
        test, wanted, retain, known
    )


def test_what_a_changed_head_hides_the_probe_finds():
    rng = np.random.default_rng(2)
    (retain, known), (forget, wanted) = clouds(rng, 200, 0.3), clouds(rng, 100, 0.3)
    assert linear_probe_accuracy(forget, wanted, retain, known).low > 0.95
    noise = rng.normal(size=forget.shape), rng.normal(size=retain.shape)
    lost = linear_probe_accuracy(noise[0], wanted, noise[1], known)
    assert lost.low < 1 / 3 < lost.high


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: (x, np.zeros_like(y)), "at least two classes"),
        (lambda x, y: (x[:0], y[:0]), "must be a non-empty array"),
        (lambda x, y: (x, np.stack([y, y], axis=1)), "multi-label"),
    ],
)
def test_a_probe_that_cannot_be_fitted_is_a_reason(change, said):
    rng = np.random.default_rng(3)
    features, labels = clouds(rng, 30, 1.0)
    with pytest.raises(ValueError, match=said):
        linear_probe_accuracy(features, labels, *change(features, labels))
    with pytest.raises(ValueError, match="limit must be at least 2"):
        linear_probe_accuracy(features, labels, features, labels, limit=1)


# -- drift -------------------------------------------------------------------------------------------------------------


def by_hand(own, other, labels):
    cosine = [1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(own, other)]
    scale = np.mean([np.linalg.norm(b) for b in other])
    apart = [np.linalg.norm(a - b) / scale for a, b in zip(own, other)]
    centroid, worst = 0.0, -1.0
    for c in np.unique(labels):
        mine = labels == c
        centroid += mine.mean() * np.linalg.norm(own[mine].mean(axis=0) - other[mine].mean(axis=0)) / scale
        worst = max(worst, np.mean(np.array(cosine)[mine]))
    return {"": np.mean(cosine), "_euclidean": np.mean(apart), "_centroid": centroid, "_worst_class": worst}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_drift_is_that_of_the_plain_loop_whatever_the_order_and_the_scale(seed):
    rng = np.random.default_rng(seed)
    other, labels = clouds(rng, 40, 1.0)
    own = other + rng.normal(size=other.shape)
    values = {name: part.value for name, part in feature_drift(own, other, labels).items()}
    assert values == pytest.approx(by_hand(own, other.astype(float), labels), abs=1e-6)
    order = rng.permutation(40)
    moved = feature_drift(7 * own[order], 7 * other[order], labels[order])
    assert {name: part.value for name, part in moved.items()} == pytest.approx(values, abs=1e-6)
    assert values["_centroid"] <= values["_euclidean"] + 1e-12
    assert values["_worst_class"] >= values[""] - 1e-12


def test_the_same_features_have_not_drifted_and_opposite_ones_as_far_as_can_be():
    features, labels = clouds(np.random.default_rng(4), 30, 1.0)
    assert max(abs(part.value) for part in feature_drift(features, features, labels).values()) < 1e-12
    turned = feature_drift(-features, features, labels)
    assert (turned[""].value, turned["_euclidean"].value) == pytest.approx((2, 2))
    assert turned[""].high == 2


def test_intervals_are_of_the_samples_and_where_there_is_none_it_says_why():
    rng = np.random.default_rng(5)
    other = np.eye(2)[rng.integers(2, size=20)] + 0.2
    own, labels = other + 0.3 * rng.normal(size=other.shape), np.repeat([0, 1, 2], [10, 7, 3])
    found = feature_drift(own, other, labels)
    values = [1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(own, other)]
    low, high = t.interval(0.95, 19, np.mean(values), np.std(values, ddof=1) / math.sqrt(20))
    assert found[""][1:4] == pytest.approx((max(0, low), high, 20))
    assert found["_worst_class"].n in {10, 7, 3}
    assert found["_worst_class"].interval == "none: the largest of 3"
    assert math.isnan(found["_centroid"].low)
    assert found["_centroid"].interval.startswith("none: ")
    (alone,) = {
        part.interval for name, part in feature_drift(own[:1], other[:1], [0]).items() if name in ("", "_euclidean")
    }
    assert alone == "none: one value"


def test_one_class_that_moved_is_seen_though_the_others_did_not():
    other, labels = clouds(np.random.default_rng(6), 300, 0.1)
    own = np.where((labels == 1)[:, None], np.roll(other, 4, axis=1), other)
    found = feature_drift(own, other, labels)
    assert found["_worst_class"].value > 0.9
    assert found["_worst_class"].n == (labels == 1).sum()
    assert found[""].value == pytest.approx(found["_worst_class"].value * np.mean(labels == 1))


def test_noise_averages_out_of_the_centroids_and_a_shift_does_not():
    rng = np.random.default_rng(7)
    other, labels = clouds(rng, 3000, 0.1)
    noisy = feature_drift(other + rng.normal(size=other.shape), other, labels)
    shifted = feature_drift(other + 1.0, other, labels)
    assert noisy["_centroid"].value < noisy["_euclidean"].value / 10
    assert shifted["_centroid"].value == pytest.approx(shifted["_euclidean"].value, rel=1e-5)


def test_with_several_labels_a_class_is_a_whole_row():
    rng = np.random.default_rng(8)
    other, rows = clouds(rng, 60, 1.0, classes=4)
    own = other + rng.normal(size=other.shape)
    labels = np.stack([rows // 2, rows % 2], axis=1)
    assert feature_drift(own, other, labels) == feature_drift(own, other, rows)


def test_at_most_as_many_samples_as_the_limit_are_looked_at():
    rng = np.random.default_rng(9)
    other, labels = clouds(rng, 100, 1.0)
    own = other + rng.normal(size=other.shape)
    assert feature_drift(own, other, labels, limit=20) == feature_drift(own[::5], other[::5], labels[::5])
    assert feature_drift(own, other, labels, limit=20)[""].n == 20


@pytest.mark.parametrize(
    ("features", "original", "labels", "said"),
    [
        (np.ones((3, 2)), np.zeros((3, 2)), [0, 0, 1], "all reference features are zero"),
        (np.ones((0, 2)), np.ones((0, 2)), [], "given for 0 samples"),
        (np.ones((3, 2)), np.ones((3, 2)), [0, 1], "given for 3 samples"),
        (np.ones((3, 2)), np.ones((2, 2)), [0, 1, 1], "2 features of the original given for 3 samples"),
        (np.ones((3, 2)), np.ones((3, 4)), [0, 1, 1], "features of the same samples"),
    ],
)
def test_what_cannot_be_compared_is_a_reason(features, original, labels, said):
    with pytest.raises(ValueError, match=said):
        feature_drift(features, original, labels)
