import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from raybench.metrics.accuracy import accuracy, calibration_error, mean_loss, top_2, unlearning_accuracy
from raybench.metrics.functions.accuracy import correct_decisions, top_k
from raybench.metrics.functions.intervals import clopper_pearson, sparse_mean
from raybench.metrics.per_class_accuracy import accuracy_by_class, balanced_accuracy, majority_accuracy


def random_case(seed, n=60, classes=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    labels[:classes] = np.arange(classes)
    return rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels], labels


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_top_k_and_balanced_accuracy_are_those_of_scikit_learn(seed, k):
    logits, labels = random_case(seed)
    assert top_k(logits, labels, k) == pytest.approx(top_k_accuracy_score(labels, logits, k=k, labels=np.arange(5)))
    assert balanced_accuracy(logits, labels).value == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_accuracy_does_not_depend_on_the_order_of_samples_or_classes(seed):
    logits, labels = random_case(seed)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(60), rng.permutation(5)
    renamed = np.argsort(columns)[labels]
    assert accuracy(logits[rows][:, columns], renamed[rows]) == accuracy(logits, labels)
    before, after = accuracy_by_class(logits, labels), accuracy_by_class(logits[:, columns], renamed)
    assert after == {f"_{i}": before[f"_{column}"] for i, column in enumerate(columns)}
    assert accuracy(3 * logits - 7, labels) == accuracy(logits, labels)


def test_numpy_torch_and_half_precision_give_the_same():
    logits, labels = random_case(0)
    coarse = torch.tensor(logits).bfloat16()
    assert accuracy(coarse, torch.tensor(labels)) == accuracy(coarse.float().numpy(), labels)


def test_accuracy_has_the_exact_interval():
    logits, labels = random_case(1)
    right = int((logits.argmax(1) == labels).sum())
    assert accuracy(logits, labels) == clopper_pearson(right, 60)


def test_unlearning_accuracy_is_the_mirror_of_accuracy():
    logits, labels = random_case(1)
    right, unlearned = accuracy(logits, labels), unlearning_accuracy(logits, labels)
    assert (unlearned.value, unlearned.low, unlearned.high) == (1 - right.value, 1 - right.high, 1 - right.low)
    assert unlearned.low < unlearned.value < unlearned.high


def test_all_male_predictions_on_mucac_give_the_reported_accuracy_of_the_collapsed_models():
    labels = np.repeat([1, 0], [364, 2065 - 364])
    logits = np.tile([0.0, 1.0], (2065, 1))
    assert accuracy(logits, labels).value == pytest.approx(0.17627, abs=5e-6)  # reported 0.1762, truncated
    assert majority_accuracy(labels).value == pytest.approx(0.8237, abs=5e-5)
    assert balanced_accuracy(logits, labels).value == 0.5


def test_mucac_majority_baselines_are_those_of_the_test_set():
    counts = {"gender": 364, "smiling": 919, "young": 1707}
    labels = np.stack([np.arange(2065) < count for count in counts.values()], axis=1).astype(int)
    assert [majority_accuracy(column).value for column in labels.T] == pytest.approx([0.8237, 0.5550, 0.8266], abs=5e-5)
    assert majority_accuracy(labels).value == pytest.approx(0.7351, abs=5e-5)


def test_multilabel_accuracy_is_the_plain_mean_over_labels_and_not_the_exact_match():
    logits = np.array([[2.0, -1.0, 0.5], [-1.0, -1.0, 3.0], [1.0, 1.0, 1.0], [-2.0, 0.1, -0.1]])
    labels = np.array([[1, 0, 1], [1, 0, 1], [1, 1, 0], [0, 1, 0]])
    assert [label.value for label in accuracy_by_class(logits, labels).values()] == [0.75, 1.0, 0.75]
    assert accuracy(logits, labels).value == pytest.approx(10 / 12)


def test_a_logit_of_0_is_no_positive_decision():
    assert correct_decisions([[0.0, 0.0]], [[0, 1]]).tolist() == [[1.0, 0.0]]


def test_copies_of_one_label_add_no_certainty_to_the_multilabel_interval():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(80, 1)) + 0.5, np.ones((80, 1), int)
    once, thrice = accuracy(logits, labels), accuracy(np.repeat(logits, 3, 1), np.repeat(labels, 3, 1))
    assert thrice == once


def test_a_class_without_samples_is_left_out_also_of_the_balanced_mean():
    logits, labels = np.eye(3)[[0, 1, 1]], np.array([0, 1, 0])
    assert {name: found.value for name, found in accuracy_by_class(logits, labels).items()} == {"_0": 0.5, "_1": 1.0}
    assert balanced_accuracy(logits, labels).value == 0.75


def test_balanced_accuracy_of_labels_averages_over_both_values_of_each():
    logits, labels = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([[1, 0], [0, 1]])
    assert balanced_accuracy(logits, labels).value == 0.75


def slow_calibration_error(logits, labels, bins):
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return error


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_calibration_error_is_the_textbook_one(seed, bins):
    logits, labels = random_case(seed)
    assert calibration_error(logits, labels, bins=bins).value == pytest.approx(
        slow_calibration_error(logits, labels, bins), abs=1e-12
    )


def test_calibration_error_of_known_cases():
    sure = np.tile([1e4, -1e4], (10, 1)).astype(np.float32)
    assert calibration_error(sure, np.zeros(10)).value == 0
    assert calibration_error(sure, np.repeat([0, 1], 5)).value == pytest.approx(0.5)
    multilabel_sure = np.array([[1e4, -1e4], [1e4, -1e4]])
    assert calibration_error(multilabel_sure, [[1, 0], [0, 0]]).value == pytest.approx(0.25)


def test_the_calibration_metric_has_a_jackknife_interval_around_the_pure_value():
    logits, labels = random_case(3, n=400)
    estimate = calibration_error(logits, labels)
    assert estimate.value == pytest.approx(slow_calibration_error(logits, labels, 15))
    assert 0 <= estimate.low < estimate.value < estimate.high
    assert (estimate.n, estimate.interval) == (400, "jackknife")


def test_nan_logits_are_no_prediction_of_class_0():
    with pytest.raises(ValueError, match="NaN"):
        accuracy([[np.nan, np.nan]], [0])


def test_the_wrong_kind_of_labels_is_refused():
    with pytest.raises(ValueError, match="one class per sample"):
        top_k(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="not be empty"):
        majority_accuracy([])


@pytest.mark.parametrize("k", [0, 6])
def test_a_k_outside_the_classes_is_refused(k):
    with pytest.raises(ValueError, match=r"1\.\.5"):
        top_k(*random_case(0), k)


def test_constant_logits_are_a_prediction_of_class_0_and_no_free_point():
    labels = np.array([0, 1, 2, 2])
    assert top_k(np.zeros((4, 3)), labels) == 0.25
    assert top_k(np.zeros((4, 3)), labels, 2) == 0.5
    assert top_k(np.zeros((4, 3)), labels, 3) == 1.0
    assert accuracy(np.zeros((4, 3)), labels).value == 0.25


def test_top_2_of_a_hand_counted_case_has_the_exact_interval():
    logits = [[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 3.0, 2.0], [0.0, 0.0, 0.0]]
    found = top_2(logits, [1, 0, 2, 2])  # second, last, second, and third by index among equals
    assert found == clopper_pearson(2, 4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_top_2_is_the_fraction_among_the_two_largest_and_never_below_top_1(seed, classes):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(size=(40, classes)), random.integers(0, classes, 40)
    found = top_2(logits, labels)
    best = np.argsort(-logits, axis=1)[:, :2]
    assert found.value == pytest.approx(np.mean((best == labels[:, None]).any(axis=1)))
    assert found.value >= accuracy(logits, labels).value
    assert found.low <= found.value <= found.high
    if classes == 2:
        assert found.value == 1


def test_top_2_of_many_labels_per_sample_is_refused():
    with pytest.raises(ValueError, match="one class per sample"):
        top_2(np.zeros((4, 3)), np.zeros((4, 3), dtype=int))


def test_the_mean_loss_is_torchs_cross_entropy():
    logits, labels = random_case(0)
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels), reduction="none")
    assert mean_loss(logits, labels)[:3] == pytest.approx(sparse_mean(expected.numpy())[:3])
    several = (np.random.default_rng(0).random((60, 5)) < 0.5).astype(int)
    binary = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor(several).double())
    assert mean_loss(logits, several).value == pytest.approx(float(binary))


def test_one_confident_mistake_dominates_the_mean_loss_and_stays_finite():
    logits, labels = np.zeros((120, 2)), np.zeros(120, dtype=int)
    logits[:, 0] = 50.0
    logits[0] = [0, 20]
    assert mean_loss(logits, labels).value == pytest.approx(20 / 120)
    assert np.isfinite(mean_loss(1e4 * logits, labels).high)
