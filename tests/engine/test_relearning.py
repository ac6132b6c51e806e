"""The relearning probe on problems whose answer is known."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from raybench.data.reading.batches import DatasetSplit
from raybench.engine.audit import measure
from raybench.engine.relearning import relearn


def blobs(rows=60, *, multi_label=False, seed=0):
    """Two separate clouds; the label says which, or for three labels which half-planes a point is in."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    x = torch.tensor(rng.normal(size=(rows, 4)) * 0.3 + np.where(y, 1.0, -1.0)[:, None], dtype=torch.float32)
    labels = (x[:, :3] > 0).float() if multi_label else torch.tensor(y)
    return DatasetSplit(TensorDataset(x, labels))


def linear(*, outputs=2, weight=0.0):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, outputs))
    nn.init.zeros_(model[1].bias)
    with torch.no_grad():
        model[1].weight.copy_(torch.linspace(-weight, weight, outputs)[:, None].expand(outputs, 4))
    return model


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_model_that_still_knows_needs_no_epoch_and_no_sample():
    found = relearn(linear(weight=1.0), blobs(), target_accuracy=0.99)
    assert (found.epochs, found.samples, found.reached, found.curve) == (0, 0, True, (1.0,))


def test_a_model_that_knows_the_opposite_needs_longer_than_one_that_knows_nothing():
    nothing = relearn(linear(), blobs(), target_accuracy=0.99, lr=0.03)
    opposite = relearn(linear(weight=-1.0), blobs(), target_accuracy=0.99, lr=0.03)
    assert nothing.reached
    assert opposite.reached
    assert 0 < nothing.epochs < opposite.epochs


def test_epochs_and_samples_are_counted_up_to_the_first_epoch_that_is_enough():
    found = relearn(linear(weight=-1.0), blobs(), target_accuracy=0.99, lr=0.03, batch_size=16)
    assert len(found.curve) == found.epochs + 1
    assert found.samples == 60 * found.epochs
    assert found.curve[-1] >= 0.99
    assert max(found.curve[:-1]) < 0.99


def test_the_curve_starts_with_what_the_given_model_gets_right():
    model, split = linear(weight=-1.0), blobs()
    assert relearn(model, split, target_accuracy=0.99).curve[0] == measure(model, split)[0] == 0


def test_what_is_not_reached_is_said_and_its_epochs_are_all_that_were_allowed():
    rng = np.random.default_rng(0)
    noise = DatasetSplit(TensorDataset(torch.zeros(40, 4), torch.tensor(rng.integers(0, 2, 40))))
    found = relearn(linear(), noise, target_accuracy=0.99, max_epochs=3)
    assert not found.reached
    assert (found.epochs, found.samples) == (3, 120)


def test_a_model_that_diverged_is_not_trained_to_the_end():
    model = linear()
    nn.init.constant_(model[1].weight, float("nan"))
    found = relearn(model, blobs(), target_accuracy=0.99, max_epochs=50)
    assert not found.reached
    assert found.epochs == 1


@pytest.mark.parametrize("training", [True, False])
def test_the_given_model_and_its_mode_stay_as_they_are(training):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2)).train(training)
    before, kept = state(model), copy.deepcopy(model)
    assert relearn(model, blobs(), target_accuracy=1.0, lr=0.1).epochs > 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training == training
    assert all(p.grad is None for p in model.parameters())
    assert all(a.requires_grad == b.requires_grad for a, b in zip(model.parameters(), kept.parameters()))


def test_the_same_seed_gives_the_same_curve_and_another_seed_another_order():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(60, 4)), dtype=torch.float32)
    guesses = DatasetSplit(TensorDataset(x, torch.tensor(rng.integers(0, 2, 60))))

    def curve(seed):
        return relearn(linear(), guesses, target_accuracy=1.0, lr=0.5, batch_size=4, max_epochs=4, seed=seed).curve

    assert curve(0) == curve(0)
    assert len({curve(seed) for seed in range(4)}) > 1


def test_the_mean_accuracy_over_labels_is_what_multi_label_data_relearn():
    found = relearn(linear(outputs=3), blobs(multi_label=True), target_accuracy=0.95, lr=0.1)
    assert found.reached
    assert found.epochs > 0
    assert all(0 <= value <= 1 for value in found.curve)
