"""Test what a run prints before its results."""

import pytest
import torch

from raybench import models
from raybench.pipeline.notices import assumptions, doubts, no_better_than_majority


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(models.build("cnn", num_classes=10, channels=1, width=4).state_dict(), path)
    return str(path)


def test_a_run_with_references_of_its_own_assumes_nothing(make_scenario):
    assert assumptions(make_scenario()) == []


def test_a_sweep_without_retrained_models_says_what_it_aims_at(make_scenario):
    (notice,) = assumptions(make_scenario(train__retrained_seeds=0))
    assert "gap_to_ideal" in notice
    (notice,) = assumptions(make_scenario(train__retrained_seeds=0, sweep__objective="mia_auc"))
    assert "optimizes mia_auc" in notice


def test_a_checkpoint_on_data_without_a_test_part_says_that_nothing_is_known_to_be_unseen(make_scenario, checkpoint):
    (notice,) = assumptions(make_scenario(model__checkpoint=checkpoint))
    assert "a column `split`" in notice


def test_a_checkpoint_at_chance_is_doubted_and_a_trained_one_is_not(make_scenario, checkpoint, trained):
    scenario, audit = make_scenario(model__checkpoint=checkpoint), trained.records[0]["audit"]
    (notice,) = doubts(scenario, {checkpoint: {**audit, "retain_accuracy": 0.1}})
    assert "data.normalize" in notice
    assert doubts(scenario, {checkpoint: {**audit, "retain_accuracy": 0.9}}) == []
    assert doubts(make_scenario(), {}) == []


def test_trained_references_draw_no_warning(trained):
    assert no_better_than_majority(trained.scenario, trained) == []
