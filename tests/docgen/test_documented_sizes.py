"""Recompute the effect sizes that docs/metrics.md states for synthetic samples; those on the digits need models."""

import numpy as np
import pytest
from scipy.stats import beta

from raybench.metrics import divergence, downstream, membership_inference, nomus, regression
from raybench.metrics.accuracy import accuracy
from raybench.metrics.conformal import cr
from raybench.metrics.functions import composite, intervals
from raybench.metrics.functions.cka import cka
from raybench.metrics.functions.conformal_quantile import rank
from raybench.scoring.metric_rows import get_metric, metric_spec


def states(name, value, *, digits=2, close=0.0):
    """Return whether the page of a metric states a number, rounded."""
    spec = metric_spec(get_metric(name))
    numbers = {f"{value + shift:.{digits}f}" for shift in np.linspace(-close, close, 21)}
    return any(number in spec.caution + spec.released for number in numbers)


def with_losses(losses):
    """Return logits and labels of two classes that have these losses."""
    return np.stack([-np.log(np.expm1(losses)), np.zeros(len(losses))], axis=1), np.zeros(len(losses), dtype=int)


def of_ten_classes(rng, n, own=3.0):
    labels = rng.integers(0, 10, n)
    logits = rng.normal(0, 1.5, (n, 10))
    logits[np.arange(n), labels] += own
    return logits, labels


def test_products_and_means_of_agreements():
    sets = [str(i) for i in range(9)]
    unlearned, retrained, cka_values = (dict.fromkeys(sets, value) for value in (0.8, 0.81, 0.9))
    assert states("agr", composite.agr(unlearned, retrained, cka_values).value)
    assert states("agr", composite.agr(unlearned, retrained, cka_values, variant="mean").value, digits=3)
    assert states("h_lr", composite.h_lr(0.95, 0.35))


def test_calibration_alone_changes_coverage_by_the_stated_sizes():
    # coverage with n exchangeable calibration samples is Beta(k, n + 1 - k); `numpy_higher` takes rank k + 1
    for n in (39, 200, 2000):
        k = rank(n, 0.05)
        assert states("coverage", beta(k, n + 1 - k).std(), digits=3)
    assert states("coverage", (rank(39, 0.05) + 1) / 40, digits=3)
    assert states("coverage", (rank(2000, 0.05) + 1) / 2001, digits=4)


@pytest.mark.parametrize("rule", ["exact", "numpy_higher"])
def test_the_quantile_rule_changes_the_coverage_ratio_as_stated(rule):
    values = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        held_out, samples = of_ten_classes(rng, 39), of_ten_classes(rng, 4000)
        values.append(cr(*samples, *held_out, 0.05, rule=rule).value)
    assert states("cr", np.mean(values), digits=3)


def test_a_model_that_knows_nothing_has_a_ratio_of_one_over_the_classes():
    rng = np.random.default_rng(1)
    held_out, forget = of_ten_classes(rng, 2000, own=0), of_ten_classes(rng, 1000, own=0)
    assert states("cr", cr(*forget, *held_out, 0.05).value)


def test_seven_of_seven_has_the_stated_interval():
    assert states("fake_forgetting", intervals.clopper_pearson(7, 7).low)


@pytest.mark.parametrize(("balance", "score"), [("smaller_side", 0.04), ("truncate_members", 0.3)])
def test_sides_of_unequal_size(balance, score):
    accuracies, scores = [], []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        sides = [with_losses(rng.gamma(0.5, 1, n) + 1e-6) for n in (120, 480)]
        accuracies.append(membership_inference.mia(*sides[0], *sides[1], balance=balance)["_accuracy"].value)
        scores.append(nomus.forgetting_score(*sides[0], *sides[1], balance=balance).value)
    assert states("mia", np.mean(accuracies), close=0.005)
    assert states("forgetting_score", np.mean(scores))
    assert np.mean(scores) == pytest.approx(score, abs=0.005)


def test_noise_of_the_score_at_150_a_side():
    scores = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        sides = [with_losses(rng.gamma(0.5, 1, 150) + 1e-6) for _ in range(2)]
        scores.append(nomus.forgetting_score(*sides[0], *sides[1]).value)
    assert states("forgetting_score", np.quantile(scores, 0.95))


def test_a_label_that_an_attack_can_read():
    rng = np.random.default_rng(0)
    sides = []
    for males, n in ((2669, 10183), (1051, 2002)):
        logits = np.stack([np.full(n, 2.0), np.zeros(n)], axis=1) + rng.normal(0, 0.1, (n, 2))
        sides.append((logits, (np.arange(n) < males).astype(int)))
    assert states("mia_label_matched", membership_inference.mia(*sides[0], *sides[1])["_accuracy"].value)
    assert states("mia_label_matched", membership_inference.mia_label_matched(*sides[0], *sides[1])["_accuracy"].value)


def test_one_mistake_of_twenty_nats_adds_the_stated_divergence():
    retrained = np.zeros((120, 10))
    retrained[:, 0] = 5
    model = retrained.copy()
    model[0, 0] -= 20
    assert states("kl_to_retrained", divergence.kl_to_retrained(model, retrained).value)
    assert states("kl_to_original", divergence.kl_to_original(model, retrained).value)


def test_a_long_direction_and_one_class_change_cka_as_stated():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 2000, 512))
    first[:, 0] *= 20
    second[:, 0] = first[:, 0]
    assert states("cka_to_original", cka(first, second), digits=3)
    means, classes = rng.normal(size=(100, 256)), np.repeat(np.arange(100), 50)
    features = means[classes] + rng.normal(size=(5000, 256))
    moved = features + (classes == 0)[:, None] * (means[1] - means[0])
    assert states("cka_to_retrained", cka(features, moved))


def test_batches_of_one_class_each():
    rng = np.random.default_rng(3)
    means, classes = rng.normal(size=(10, 128)), np.repeat(np.arange(10), 512)
    rotation = np.linalg.qr(rng.normal(size=(128, 128)))[0]
    first = (means[classes] + rng.normal(size=(5120, 128))).astype(np.float32)
    second = (means[classes] @ rotation + rng.normal(size=(5120, 128))).astype(np.float32)
    assert states("cka_batched", downstream.cka_batched(first, second).value, digits=3)
    assert states("cka_batched", cka(first, second), digits=3)


def test_a_flat_softmax_predicts_the_middle():
    ages, true = np.arange(101.0), np.random.default_rng(0).integers(0, 101, 5000)
    logits = np.zeros((5000, 101))
    assert states("mean_absolute_error", regression.mean_absolute_error(logits, true, ages).value, digits=1)
    logits[np.arange(5000), true] = 2
    assert accuracy(logits, true).value == 1
    assert states("mean_absolute_error", regression.mean_absolute_error(logits, true, ages).value, digits=1)
