import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics import accuracy
from raybench.metrics.composite import agl, agr, h_lr, tug_of_war, tug_of_war_mia
from raybench.metrics.functions.intervals import difference
from raybench.metrics.membership_inference import mia_svc

ROLES = ("forget", "retain", "test")
LABELS = {"forget": np.arange(20) % 5, "retain": np.arange(100) % 5, "test": np.arange(50) % 5}


def said(shares, labels=LABELS, classes=5):
    """Return logits that are right on the first share of each role."""
    found = []
    for role, share in zip(ROLES, shares):
        right = np.arange(len(labels[role])) < round(share * len(labels[role]))
        found.append(np.eye(classes)[np.where(right, labels[role], (labels[role] + 1) % classes)])
    return found


def pulled(own, retrained, labels=LABELS):
    return tug_of_war(*(array for role, z in zip(ROLES, own) for array in (z, labels[role])), *retrained)


# -- tug-of-war --------------------------------------------------------------------------------------------------------


def test_it_is_the_product_of_how_near_the_three_accuracies_are():
    found = pulled(said((0.9, 1, 0.8)), said((0.7, 1, 0.9)))
    assert found.value == pytest.approx(0.8 * 1 * 0.9)
    assert (found.n, found.interval) == (170, "mover")
    assert 0 < found.low < found.value < found.high < 1


def test_the_interval_of_one_part_is_that_of_the_difference_where_the_others_are_certain():
    own, retrained = said((0.9, 1, 1)), said((0.3, 1, 1))
    sure = {role: np.arange(10**6) % 5 for role in ("retain", "test")}
    labels = {"forget": LABELS["forget"], **sure}
    found = pulled([own[0], *said((1, 1, 1), labels)[1:]], [retrained[0], *said((1, 1, 1), labels)[1:]], labels)
    apart = difference(*(accuracy.accuracy(z[0], LABELS["forget"]) for z in (own, retrained)))
    assert found[:3] == pytest.approx((1 - apart.value, 1 - apart.high, 1 - apart.low), abs=1e-4)


def test_a_model_pulls_evenly_with_itself_but_few_samples_do_not_prove_it():
    own = said((0.3, 0.6, 0.5))
    found = pulled(own, own)
    assert (found.value, found.high) == (1, 1)
    assert found.low < 0.95


def test_a_factor_of_zero_makes_it_zero_with_an_interval():
    found = pulled(said((0, 0.9, 0.9)), said((1, 0.9, 0.9)))
    assert (found.value, found.low) == (0, 0)
    assert 0 < found.high < 0.5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_it_is_symmetric_and_lies_in_its_interval_which_lies_in_its_range(shares):
    own, retrained = said(shares[:3]), said(shares[3:])
    found = pulled(own, retrained)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert pulled(retrained, own)[:3] == pytest.approx(found[:3])


def test_intervals_hold_the_truth_at_least_as_often_as_they_say():
    rng = np.random.default_rng(0)
    truth = {"own": (0.7, 0.95, 0.8), "retrained": (0.6, 0.97, 0.85)}
    value = np.prod([1 - abs(a - b) for a, b in zip(*truth.values())])
    labels = {role: np.zeros(n, int) for role, n in zip(ROLES, (200, 800, 400))}
    held = 0
    for _ in range(200):
        both = [
            [np.eye(2)[(rng.random(len(labels[role])) > share).astype(int)] for role, share in zip(ROLES, shares)]
            for shares in truth.values()
        ]
        found = pulled(*both, labels)
        held += found.low <= value <= found.high
    assert held / 200 > 0.93


def test_with_the_attack_in_place_of_the_forget_accuracy():
    rng = np.random.default_rng(1)

    def model(gain):
        found = []
        for role in ROLES:
            z = rng.normal(size=(len(LABELS[role]), 5))
            z[np.arange(len(z)), LABELS[role]] += gain[role]
            found.append(z)
        return found

    own, retrained = model({"forget": 4, "retain": 4, "test": 1}), model({"forget": 1, "retain": 4, "test": 1})
    found = tug_of_war_mia(*(a for role, z in zip(ROLES, own) for a in (z, LABELS[role])), *retrained)
    given_rates = []
    for forget, retain, test in (own, retrained):
        attack = mia_svc(forget, LABELS["forget"], retain, LABELS["retain"], test, LABELS["test"])
        rates = {"forget": attack["_efficacy"].value}
        rates |= {role: accuracy.accuracy(z, LABELS[role]).value for role, z in (("retain", retain), ("test", test))}
        given_rates.append(rates)
    assert found.value == pytest.approx(
        np.prod([1 - abs(a - b) for a, b in zip(*(rates.values() for rates in given_rates))])
    )
    assert found.value < pulled(own, retrained).value
    assert found.low < found.value < found.high


@pytest.mark.parametrize("metric", [tug_of_war, tug_of_war_mia])
def test_an_empty_set_is_a_reason(metric):
    own = said((0.5, 0.5, 0.5))
    empty = [np.empty((0, 5)), np.empty(0, int)]
    sides = [own[0], LABELS["forget"], own[1], LABELS["retain"], *empty]
    with pytest.raises(ValueError, match="there are no samples"):
        metric(*sides, own[0], own[1], empty[0])


# -- AGL, AGR and H-LR -------------------------------------------------------------------------------------------------


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
