"""AGL, AGR and H-LR: made of the parts that they show."""

import math

import numpy as np
import pytest

from raybench.metrics.agreement import agl, agr, forgotten_classes, h_lr


def model(accuracies, labels, classes=5):
    """Return logits that are right on the first share of each role."""
    found = {}
    for role, share in accuracies.items():
        right = np.arange(len(labels[role])) < round(share * len(labels[role]))
        said = np.where(right, labels[role], (labels[role] + 1) % classes)
        found[f"{role}_logits"] = np.eye(classes)[said]
    return found


def arguments(own, retrained, labels):
    given = {f"{role}_labels": values for role, values in labels.items()}
    return {**given, **model(own, labels), **{f"retrained_{k}": v for k, v in model(retrained, labels).items()}}


RANDOM = {"forget": np.arange(20) % 5, "retain": np.arange(100) % 5, "test": np.arange(50) % 5}
BY_CLASS = {"forget": np.full(20, 4), "retain": np.arange(100) % 4, "test": np.repeat([4, 0, 1, 2, 3], 10)}


def test_accuracies_of_samples_drawn_at_random_agree_part_by_part():
    own, retrained = {"forget": 0.9, "retain": 1, "test": 0.8}, {"forget": 0.7, "retain": 1, "test": 0.9}
    found = agl(**arguments(own, retrained, RANDOM))
    values = {name: estimate.value for name, estimate in found.items()}
    assert values == pytest.approx({"": 0.8 * 1 * 0.9, "_forget": 0.8, "_retain": 1, "_test": 0.9})
    assert agl(**arguments(own, retrained, RANDOM), variant="mean")[""].value == pytest.approx((0.8 + 1 + 0.9) / 3)


def test_a_forgotten_class_is_held_apart_from_the_others_on_test():
    labels = BY_CLASS
    given = arguments({"forget": 0, "retain": 1, "test": 1}, {"forget": 0, "retain": 1, "test": 1}, labels)
    is_gone = labels["test"] == 4
    given["retrained_test_logits"] = np.eye(5)[np.where(is_gone, 0, labels["test"])]  # right on all but the class
    found = {name: estimate.value for name, estimate in agl(**given).items()}
    assert found == {"": 0, "_forget": 1, "_retain": 1, "_test_forgotten": 0, "_test_retained": 1}
    # a single accuracy on test would have called these two models alike to 0.8


def test_a_model_agrees_with_itself():
    own = {"forget": 0.3, "retain": 0.6, "test": 0.5}
    assert agl(**arguments(own, own, RANDOM))[""].value == 1


def test_several_labels_per_sample_have_no_forgotten_class():
    labels = {role: (np.arange(3 * n).reshape(n, 3) % 2).astype(np.uint8) for role, n in (("forget", 8), ("retain", 9))}
    labels["test"] = labels["retain"]
    logits = {role: 2.0 * values - 1 for role, values in labels.items()}
    given = {f"{role}_labels": values for role, values in labels.items()}
    given |= {f"{role}_logits": values for role, values in logits.items()}
    given |= {f"retrained_{role}_logits": -values for role, values in logits.items()}
    found = {name: estimate.value for name, estimate in agl(**given).items()}
    assert found == {"": 0, "_forget": 0, "_retain": 0, "_test": 0}


def test_a_forgotten_class_without_a_test_sample_is_a_reason():
    labels = {**BY_CLASS, "test": np.arange(40) % 4}
    with pytest.raises(ValueError, match="no sample of test_forgotten"):
        agl(**arguments({"forget": 0, "retain": 1, "test": 1}, {"forget": 0, "retain": 1, "test": 1}, labels))


def test_a_class_is_forgotten_where_no_sample_of_it_is_retained():
    assert forgotten_classes(np.array([3, 1, 3]), np.array([1, 2])).tolist() == [3]
    assert forgotten_classes(np.array([1, 2]), np.array([1, 2, 3])).tolist() == []


def test_features_agree_set_by_set():
    found = agr(
        {"downstream-cub": 0.6, "downstream-office": 0.5},
        {"downstream-cub": 0.5, "downstream-office": 0.5},
        {"downstream-cub": 0.8, "downstream-office": -0.01},
    )
    values = {name: estimate.value for name, estimate in found.items()}
    parts = {"_knn_cub": 0.9, "_knn_office": 1, "_cka_cub": 0.8, "_cka_office": 0}
    assert values == pytest.approx({"": 0, **parts})


def test_both_agreements_are_joined_by_their_harmonic_mean():
    assert h_lr(0.5, 1.0).value == pytest.approx(2 / 3)
    assert h_lr(0.0, 1.0).value == 0
    assert math.isnan(h_lr(0.5, 1.0).low)
    assert h_lr(0.5, 1.0).interval.startswith("none")
