"""One forward pass: rows in id order, the evaluation view, features beside logits."""

import numpy as np
import pytest
import torch

from raybench.engine.prediction import predict


@pytest.fixture(scope="module")
def model(trained):
    return trained.scenario.load(trained.original)


def test_rows_are_the_splits_samples_in_id_order(trained, model):
    split = trained.scenario.split("test")
    found = predict(model, split)
    ids = trained.scenario.splits().ids("test")
    assert np.array_equal(found.ids, ids)
    assert np.all(np.diff(found.ids) > 0)
    assert np.array_equal(found.labels, trained.scenario.data().labels[ids])
    assert found.logits.shape == (100, 10)
    assert found.features.shape == (100, 16)
    assert found.logits.dtype == found.features.dtype == np.float32


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_the_batch_size_does_not_change_a_prediction(trained, model, batch_size):
    split = trained.scenario.split("test")
    assert np.allclose(predict(model, split, batch_size=batch_size).logits, predict(model, split).logits, atol=1e-5)


def test_logits_follow_from_the_features_by_the_head(trained, model):
    found = predict(model, trained.scenario.split("forget"))
    with torch.no_grad():
        assert np.allclose(model[-1](torch.from_numpy(found.features)).numpy(), found.logits, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_predicts_in_eval_mode_and_is_given_back_as_it_came(trained, model, training):
    split = trained.scenario.split("test")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    expected = predict(model.eval(), split).logits
    model.train(training)
    assert np.array_equal(predict(model, split).logits, expected)
    assert model.training == training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not model[-1]._forward_pre_hooks
    model.eval()


def test_augmentation_of_training_does_not_reach_predictions(make_scenario, model):
    scenario = make_scenario(train__augment=["flip"])
    split, plain = scenario.split("retain", augment=True), scenario.split("retain")
    assert split.augment.flip
    assert np.array_equal(predict(model, split).logits, predict(model, plain).logits)


def test_bf16_predictions_are_close_and_stored_as_float32(trained, model):
    split = trained.scenario.split("test")
    full, half = predict(model, split), predict(model, split, precision="bf16")
    assert half.logits.dtype == np.float32
    assert not np.array_equal(half.logits, full.logits)
    assert np.allclose(half.logits, full.logits, atol=0.15)
