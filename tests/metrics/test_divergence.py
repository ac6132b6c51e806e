import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from scipy.stats import entropy

from raybench.metrics.divergence import (
    activation_distance,
    agreement_to_retrained,
    completeness_to_retrained,
    js_to_original,
    js_to_retrained,
    kl_to_original,
    kl_to_retrained,
    zrf,
)
from raybench.metrics.functions.divergence import agreement, completeness, jensen_shannon, kl, l2_of_probabilities
from raybench.metrics.functions.intervals import clopper_pearson

LOGITS = arrays(np.float64, (7, 4), elements=st.floats(-20, 20, width=32))
FAR = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], dtype=np.float32)


@settings(max_examples=40, deadline=None)
@given(a=LOGITS, b=LOGITS)
def test_divergences_equal_the_textbook_forms(a, b):
    p, q = softmax(a, axis=1), softmax(b, axis=1)
    middle = (p + q) / 2
    textbook = (entropy(p, middle, base=2, axis=1) + entropy(q, middle, base=2, axis=1)) / 2
    np.testing.assert_allclose(jensen_shannon(a, b), textbook, atol=1e-9)
    np.testing.assert_allclose(kl(a, b), entropy(q, p, axis=1), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(kl(a, b, direction="to"), entropy(p, q, axis=1), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(l2_of_probabilities(a, b), np.linalg.norm(p - q, axis=1), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(a=LOGITS, b=LOGITS, seed=st.integers(0, 99))
def test_permuting_classes_and_shifting_logits_change_nothing(a, b, seed):
    order = np.random.default_rng(seed).permutation(4)
    for measure in (jensen_shannon, kl, l2_of_probabilities):
        np.testing.assert_allclose(measure(a[:, order] + 9, b[:, order] - 5), measure(a, b), rtol=1e-7, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(a=LOGITS, b=LOGITS)
def test_jensen_shannon_is_symmetric_and_within_one_bit(a, b):
    values = jensen_shannon(a, b)
    np.testing.assert_allclose(values, jensen_shannon(b, a), atol=1e-12)
    assert ((values >= 0) & (values <= 1)).all()


def test_probabilities_of_exactly_zero_and_one_give_the_ends_of_the_range():
    np.testing.assert_array_equal(jensen_shannon(FAR, FAR[::-1]), 1)
    np.testing.assert_allclose(l2_of_probabilities(FAR, FAR[::-1]), math.sqrt(2))
    np.testing.assert_allclose(kl(FAR, FAR[::-1]), 2e4)
    for measure in (jensen_shannon, kl, l2_of_probabilities):
        np.testing.assert_array_equal(measure(FAR, FAR), 0)


def test_blocks_give_the_values_of_the_whole(monkeypatch):
    a, b = np.random.default_rng(0).normal(size=(2, 90, 3))
    whole = jensen_shannon(a, b)
    monkeypatch.setattr("raybench.metrics.functions.softmax._BLOCK_ELEMENTS", 48)
    np.testing.assert_array_equal(jensen_shannon(a, b), whole)


def test_zrf_is_one_for_the_untrained_model_itself_and_zero_for_its_opposite():
    assert zrf(FAR, FAR).value == 1
    assert zrf(FAR, FAR[::-1]).value == 0
    a, b = np.random.default_rng(0).normal(size=(2, 50, 3))
    estimate = zrf(a, b)
    assert estimate.value == pytest.approx(1 - jensen_shannon(a, b).mean())
    assert estimate.low < estimate.value < estimate.high


def test_agreement_counts_equal_predictions_and_completeness_their_overlap():
    a = np.eye(4)
    b = np.eye(4)[[0, 1, 2, 0]]
    assert agreement(a, b).value == 0.75
    assert completeness(a, b).value == pytest.approx(3 / 5)
    assert completeness(a, a).value == 1


def test_completeness_of_labels_decided_at_zero_is_their_jaccard_overlap():
    a = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    b = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [-1.0, 1.0]])
    estimate = completeness(a, b, prediction="threshold")
    assert estimate.value == pytest.approx(2 / 6)
    assert estimate.low < 2 / 6 < estimate.high
    with pytest.raises(ValueError, match="neither model predicts"):
        completeness(-np.ones((2, 2)), -np.ones((2, 2)), prediction="threshold")


def test_metrics_average_over_samples_and_carry_intervals():
    a, b = np.random.default_rng(0).normal(size=(2, 80, 3))
    expected = {
        js_to_retrained: jensen_shannon(a, b).mean(),
        js_to_original: jensen_shannon(a, b).mean(),
        kl_to_retrained: kl(a, b).mean(),
        kl_to_original: kl(a, b).mean(),
        activation_distance: l2_of_probabilities(a, b).mean(),
        agreement_to_retrained: (a.argmax(1) == b.argmax(1)).mean(),
    }
    for metric, value in expected.items():
        estimate = metric(a, b)
        assert estimate.value == pytest.approx(value)
        assert metric.raybench_spec.low <= estimate.low < estimate.value < estimate.high <= metric.raybench_spec.high
        assert estimate.n == 80


def test_one_sample_has_a_value_and_a_reason_for_no_interval():
    estimate = js_to_retrained(FAR[:1], FAR[1:])
    assert estimate.value == 1
    assert math.isnan(estimate.low)
    assert estimate.interval.startswith("none")


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), "same samples"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "need a sample"),
        (np.zeros((2, 1)), np.zeros((2, 1)), "2 or more classes"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), "NaN"),
    ],
)
def test_bad_input_is_refused_with_its_reason(a, b, reason):
    with pytest.raises(ValueError, match=reason):
        js_to_retrained(a, b)


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
