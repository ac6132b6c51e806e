import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics import accuracy
from raybench.metrics.composite_metrics import (
    completeness_to_retrained,
    indiscernibility,
    tug_of_war,
    tug_of_war_mia,
)
from raybench.metrics.functions import composite
from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.nomus_metrics import forgetting_score, mia
from raybench.metrics.shadow_metrics import mia_svc
from raybench.metrics.unanchored import difference

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
    assert found.value == pytest.approx(composite.tug_of_war(*given_rates))
    assert found.value < pulled(own, retrained).value
    assert found.low < found.value < found.high


@pytest.mark.parametrize("metric", [tug_of_war, tug_of_war_mia])
def test_an_empty_set_is_a_reason(metric):
    own = said((0.5, 0.5, 0.5))
    empty = [np.empty((0, 5)), np.empty(0, int)]
    sides = [own[0], LABELS["forget"], own[1], LABELS["retain"], *empty]
    with pytest.raises(ValueError, match="there are no samples"):
        metric(*sides, own[0], own[1], empty[0])


# -- indiscernibility --------------------------------------------------------------------------------------------------


def attacked(seed, gain):
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=600)
    logits = rng.normal(size=(600, 4))
    logits[np.arange(600), labels] += np.where(np.arange(600) < 300, 2 + gain, 2)
    return logits[:300], labels[:300], logits[300:], labels[300:]


@pytest.mark.parametrize("gain", [-3.0, 0.0, 2.0])
def test_it_mirrors_the_accuracy_of_the_attack_and_its_interval(gain):
    sides = attacked(0, gain)
    found, attack, score = indiscernibility(*sides), mia(*sides)["_accuracy"], forgetting_score(*sides)
    assert found.value == pytest.approx(1 - abs(2 * attack.value - 1)) == 1 - 2 * score.value
    assert found[1:3] == pytest.approx((1 - 2 * score.high, 1 - 2 * score.low))
    assert (found.n, found.interval) == (attack.n, attack.interval)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert (found.high == 1) == (attack.low <= 0.5 <= attack.high)


def test_a_constant_model_is_indiscernible():
    found = indiscernibility(np.zeros((40, 3)), np.zeros(40, int), np.zeros((40, 3)), np.ones(40, int))
    assert (found.value, found.high) == (1, 1)


def test_settings_reach_the_attack():
    sides = attacked(1, 1.0)
    assert indiscernibility(*sides, splits=3, test_fraction=0.3, seed=5).value == pytest.approx(
        1 - 2 * forgetting_score(*sides, splits=3, test_fraction=0.3, seed=5).value
    )
    with pytest.raises(ValueError, match="there are no samples"):
        indiscernibility(np.empty((0, 4)), np.empty(0, int), *sides[2:])


# -- completeness ------------------------------------------------------------------------------------------------------


def test_one_class_a_sample_gives_the_overlap_of_the_predicted_pairs():
    own, retrained = np.array([0, 1, 2, 1, 0]), np.array([0, 1, 1, 1, 2])
    found = completeness_to_retrained(np.eye(3)[own], np.zeros(5, int), np.eye(3)[retrained])
    pairs = [set(enumerate(given.tolist())) for given in (own, retrained)]
    assert found.value == pytest.approx(len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1])) == pytest.approx(3 / 7)
    exact = clopper_pearson(3, 5)
    assert found[1:3] == pytest.approx((exact.low / (2 - exact.low), exact.high / (2 - exact.high)))


def test_several_labels_a_sample_give_the_overlap_of_the_labels_above_zero():
    rng = np.random.default_rng(2)
    own, retrained = rng.normal(size=(2, 50, 3))
    found = completeness_to_retrained(own, np.zeros((50, 3), int), retrained)
    a, b = own > 0, retrained > 0
    assert found.value == pytest.approx((a & b).sum() / (a | b).sum())
    assert (found.n, found.interval) == (50, "delta")


def test_full_agreement_on_few_samples_is_no_certainty():
    logits = np.random.default_rng(3).normal(size=(20, 3))
    for labels in (np.zeros(20, int), np.zeros((20, 3), int)):
        found = completeness_to_retrained(logits, labels, logits)
        assert (found.value, found.high) == (1, 1)
        assert 0.6 < found.low < 0.9
    alone = completeness_to_retrained(np.ones((1, 3)), np.ones((1, 3), int), np.ones((1, 3)))
    assert alone[:3] == pytest.approx(clopper_pearson(1, 1)[:3])


def test_models_that_predict_no_label_at_all_are_a_reason():
    with pytest.raises(ValueError, match="neither model predicts any label"):
        completeness_to_retrained(-np.ones((4, 3)), np.zeros((4, 3), int), -np.ones((4, 3)))
    with pytest.raises(ValueError, match="a sample and 2 or more classes"):
        completeness_to_retrained(np.empty((0, 3)), np.empty(0, int), np.empty((0, 3)))
