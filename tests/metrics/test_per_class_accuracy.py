import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from raybench.metrics import accuracy as accuracies
from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.per_class_accuracy import accuracy_by_class, balanced_accuracy, majority_accuracy


def answers(said, classes):
    return np.eye(classes)[said]


def unbalanced(seed, n=300, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, size=n, p=[0.7, 0.2, 0.07, 0.03])
    said = np.where(rng.random(n) < 0.8, labels, rng.integers(classes, size=n))
    return answers(said, classes), labels


# -- balanced accuracy -------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_it_is_that_of_the_textbook(seed):
    logits, labels = unbalanced(seed)
    found = balanced_accuracy(logits, labels)
    assert found.value == pytest.approx(balanced_accuracy_score(labels, logits.argmax(axis=1)), abs=1e-12)
    assert 0 <= found.low < found.value < found.high <= 1
    assert (found.n, found.interval) == (300, "mover of clopper-pearson")


def test_the_interval_combines_the_exact_ones_of_the_classes():
    logits, labels = unbalanced(0)
    correct = logits.argmax(axis=1) == labels
    exact = [clopper_pearson(correct[labels == c].sum(), (labels == c).sum()) for c in range(4)]
    estimate = balanced_accuracy(logits, labels)
    assert estimate.value - estimate.low == pytest.approx(np.hypot.reduce([e.value - e.low for e in exact]) / 4)
    assert estimate.high - estimate.value == pytest.approx(np.hypot.reduce([e.high - e.value for e in exact]) / 4)


@pytest.mark.parametrize("counts", [(200, 60, 8, 3), (3,) * 10])
def test_intervals_cover_the_truth_with_rare_classes(counts):
    rng, hits = np.random.default_rng(0), 0
    labels = np.repeat(np.arange(len(counts)), counts)
    for _ in range(300):
        predicted = np.where(rng.random(len(labels)) < 0.8, labels, (labels + 1) % len(counts))
        estimate = balanced_accuracy(answers(predicted, len(counts)), labels)
        hits += estimate.low <= 0.8 <= estimate.high
    assert hits / 300 >= 0.9


def test_intervals_cover_the_truth_with_dependent_labels():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        labels = (rng.random((80, 3)) < 0.3).astype(int)
        shared = rng.random((80, 1)) < 0.8  # right on all labels, or wrong on all
        estimate = balanced_accuracy((2.0 * labels - 1) * np.where(shared, 1, -1), labels)
        hits += estimate.low <= 0.8 <= estimate.high
    assert hits / 300 >= 0.93


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng, shares = np.random.default_rng(1), np.array([0.95, 0.9, 0.6])
    held = 0
    for _ in range(200):
        labels = np.repeat([0, 1, 2], [200, 60, 30])
        said = np.where(rng.random(290) < shares[labels], labels, (labels + 1) % 3)
        found = balanced_accuracy(answers(said, 3), labels)
        held += found.low <= shares.mean() <= found.high
    assert held / 200 > 0.9


def test_a_constant_model_gets_one_over_the_number_of_classes_with_an_interval_that_is_no_point():
    labels = np.repeat([0, 1, 2, 3], [70, 20, 7, 3])
    found = balanced_accuracy(answers(np.zeros(100, int), 4), labels)
    assert found.value == 0.25
    assert found.low < 0.25 < found.high
    assert found.interval == "mover of clopper-pearson"


def test_all_right_is_no_certainty_and_each_class_adds_what_it_leaves_open():
    labels = np.repeat([0, 1], [20, 50])
    found = balanced_accuracy(answers(labels, 2), labels)
    missing = [1 - clopper_pearson(n, n).low for n in (20, 50)]
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(1 - np.hypot(*missing) / 2)


def test_several_labels_give_the_mean_over_labels_of_the_mean_over_their_sides():
    rng = np.random.default_rng(2)
    labels = (rng.random((200, 3)) < [0.1, 0.5, 0.8]).astype(int)
    logits = np.where(rng.random((200, 3)) < 0.85, 1.0, -1.0) * (2 * labels - 1)
    found = balanced_accuracy(logits, labels)
    expected = np.mean([balanced_accuracy_score(labels[:, i], logits[:, i] > 0) for i in range(3)])
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high
    same = balanced_accuracy(np.ones((40, 2)), np.tile([[0, 1], [1, 0]], (20, 1)))  # both labels alike: no better known
    assert same.value == 0.5
    assert same.low == pytest.approx(balanced_accuracy(np.ones((40, 1)), np.tile([[0], [1]], (20, 1))).low)


def test_one_sample_has_an_interval_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = balanced_accuracy([[1.0, 0.0, 0.0]], [0])
    assert found[:3] == pytest.approx(clopper_pearson(1, 1)[:3])


def test_a_class_without_a_sample_does_not_count():
    logits, labels = answers(np.array([0, 0, 1, 1]), 5), np.array([0, 0, 0, 1])
    assert balanced_accuracy(logits, labels).value == pytest.approx((2 / 3 + 1) / 2)


# -- the majority ------------------------------------------------------------------------------------------------------


def test_it_is_what_accuracy_says_of_the_model_that_always_answers_the_majority():
    labels = np.repeat([2, 0, 1], [55, 25, 20])
    assert majority_accuracy(labels) == accuracies.accuracy(answers(np.full(100, 2), 3), labels)
    assert majority_accuracy(labels).value == 0.55


def test_with_several_labels_too():
    rng = np.random.default_rng(3)
    labels = (rng.random((120, 3)) < [0.2, 0.6, 0.9]).astype(np.uint8)
    constant = np.tile([-1.0, 1.0, 1.0], (120, 1))
    assert majority_accuracy(labels) == accuracies.accuracy(constant, labels)
    assert majority_accuracy(labels).value == pytest.approx(np.maximum(labels.mean(0), 1 - labels.mean(0)).mean())


@pytest.mark.parametrize("labels", [np.empty(0, int), np.empty((0, 3), int), np.array(3), np.zeros((2, 2, 2))])
def test_labels_of_another_shape_are_a_reason(labels):
    with pytest.raises(ValueError, match=r"labels must have shape \(N,\) or \(N, L\) and not be empty"):
        majority_accuracy(labels)


# -- class by class ----------------------------------------------------------------------------------------------------


def test_every_class_that_occurs_has_its_accuracy():
    logits, labels = answers(np.array([0, 0, 1, 3, 3]), 5), np.array([0, 0, 0, 3, 1])
    assert accuracy_by_class(logits, labels) == {
        "_0": clopper_pearson(2, 3),
        "_1": clopper_pearson(0, 1),
        "_3": clopper_pearson(1, 1),
    }


def test_every_label_of_several_has_its_accuracy():
    labels = np.array([[0, 1], [1, 1], [1, 0]])
    logits = np.array([[-1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]])
    assert accuracy_by_class(logits, labels) == {"_0": clopper_pearson(2, 3), "_1": clopper_pearson(3, 3)}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_samples_changes_no_value_and_weighted_classes_give_plain_accuracy(seed):
    logits, labels = unbalanced(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    found = accuracy_by_class(logits, labels)
    assert accuracy_by_class(logits[order], labels[order]) == found
    assert balanced_accuracy(logits[order], labels[order]).value == balanced_accuracy(logits, labels).value
    assert majority_accuracy(labels[order]) == majority_accuracy(labels)
    plain = sum(part.value * part.n for part in found.values()) / len(labels)
    assert plain == pytest.approx(accuracies.accuracy(logits, labels).value)


@pytest.mark.parametrize("metric", [balanced_accuracy, accuracy_by_class])
def test_an_empty_set_is_a_reason(metric):
    for logits, labels in ((np.empty((0, 3)), np.empty(0, int)), (np.empty((0, 3)), np.empty((0, 3), int))):
        with pytest.raises(ValueError, match="there are no samples"):
            metric(logits, labels)
