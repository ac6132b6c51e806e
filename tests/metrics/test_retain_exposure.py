"""Retain exposure: the attack's AUC against counted pairs, both ends of its range, and the null."""

import numpy as np
import pytest

from raybench.metrics.functions.signals import loss
from raybench.metrics.retain_exposure import retain_exposure


def drawn(seed, n, strength):
    random = np.random.default_rng(seed)
    labels = random.integers(4, size=n)
    logits = random.normal(size=(n, 4))
    logits[np.arange(n), labels] += strength
    return logits, labels


def test_the_auc_counts_pairs_in_which_the_retain_sample_has_the_smaller_loss():
    retain, unseen = drawn(0, 30, 2.0), drawn(1, 40, 1.0)
    pairs = loss(*retain)[:, None], loss(*unseen)[None, :]
    expected = np.mean((pairs[0] < pairs[1]) + (pairs[0] == pairs[1]) / 2)
    result = retain_exposure(*retain, *unseen)
    assert result["_auc"].value == pytest.approx(expected)
    assert result["_auc"].low < expected < result["_auc"].high


def test_separated_losses_expose_every_retain_sample_and_exchanged_sets_none():
    retain, unseen = drawn(0, 50, 40.0), drawn(1, 200, -40.0)
    assert {key: estimate.value for key, estimate in retain_exposure(*retain, *unseen).items()} == {
        "_auc": 1,
        "_tpr_at_fpr_0.001": 1,
        "_tpr_at_fpr_0.01": 1,
    }
    assert all(estimate.value == 0 for estimate in retain_exposure(*unseen, *retain).values())


def test_sets_of_one_distribution_are_at_chance():
    values = [retain_exposure(*drawn(2 * i, 200, 1.0), *drawn(2 * i + 1, 200, 1.0))["_auc"] for i in range(40)]
    assert np.mean([value.value for value in values]) == pytest.approx(0.5, abs=4 * 0.029 / np.sqrt(40))
    assert sum(not value.low <= 0.5 <= value.high for value in values) <= 6  # more has a chance of 1 %


def test_more_confidence_on_retain_samples_raises_the_exposure():
    unseen = drawn(1, 300, 1.0)
    values = [retain_exposure(*drawn(0, 300, strength), *unseen)["_auc"].value for strength in (1.0, 2.0, 4.0)]
    assert values == sorted(values)
