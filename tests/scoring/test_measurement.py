"""The evaluation as a measurement: models whose memory of the forget set is known, and what the metrics say of them.

A small version of `benchmarks/power.py`, whose table for every metric is docs/power.md.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from raybench.config.reading import load_experiment
from raybench.engine.prediction import predict
from raybench.scenario.prepare import prepare
from raybench.scoring.metric_rows import chosen_metrics
from raybench.storage.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SETTINGS = ["model.width=8", "train.epochs=25", "train.retrained_seeds=2"]
METRICS = ["accuracy", "calibration_error", "mia", "knn", "unlearning_accuracy", "cka_to_original"]
ORIGINALS, RETRAINED = 4, 6


@pytest.fixture(scope="module")
def benchmarks():
    """Import the benchmark's two modules as the script does."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("known_memory"), importlib.import_module("power")
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    torch.set_num_threads(1)
    experiment, _ = load_experiment(ROOT / "experiments" / "quickstart.yaml", SETTINGS)
    return prepare(experiment, Store(str(tmp_path_factory.mktemp("known"))))


@pytest.fixture(scope="module")
def models(scenario, benchmarks):
    return benchmarks[0].build(scenario, originals=ORIGINALS, retrained=RETRAINED)


@pytest.fixture(scope="module")
def rows(scenario, models, benchmarks):
    return benchmarks[0].evaluate(scenario, models, chosen_metrics(METRICS), [0.2], probe_epochs=50)


@pytest.fixture(scope="module")
def line(rows, benchmarks):
    found, _ = benchmarks[1].lines(rows)
    by_name = {(line.metric, line.split): line for line in found}
    return lambda metric, split="": by_name[metric, split]


@pytest.mark.parametrize(("metric", "split"), [("accuracy", "forget"), ("mia_auc", ""), ("knn", "forget")])
def test_a_metric_of_memory_orders_retrained_half_and_original(line, metric, split):
    found = line(metric, split)
    assert found.values["retrained"].mean() < found.values["half"].mean() < found.values["original"].mean()
    assert found.ordered
    assert found.auc == 1.0


@pytest.mark.parametrize(("metric", "split"), [("accuracy", "forget"), ("mia_auc", ""), ("cka_to_original", "forget")])
def test_every_original_lies_outside_what_one_more_retrained_model_would_show(line, metric, split):
    assert (line(metric, split).outside["original"] == 1).all()


def test_retrained_models_are_rarely_taken_for_models_that_remember(rows, benchmarks):
    found, _ = benchmarks[1].lines(rows)
    alarms = np.concatenate([line.outside["retrained"] != 0 for line in found])
    assert len(alarms) > 100
    assert alarms.mean() < 0.15


def test_utility_does_not_tell_an_original_from_a_retrained_model(line):
    assert (line("accuracy", "test").outside["original"] != 0).sum() <= 1


def test_reordered_channels_are_other_weights_and_the_same_function(models, scenario):
    original, permuted = models["original-0"], models["permuted-0"]
    assert not torch.equal(original[0].weight, permuted[0].weight)
    split = scenario.split("forget")
    assert np.allclose(predict(original, split).logits, predict(permuted, split).logits, atol=1e-4)
    features = [np.sort(predict(model, split).features, axis=1) for model in (original, permuted)]
    assert np.allclose(*features, atol=1e-4)


def test_what_keeps_the_function_moves_no_metric(line):
    for metric, split in [("accuracy", "forget"), ("mia_auc", ""), ("knn", "forget"), ("cka_to_original", "forget")]:
        found = line(metric, split)
        assert np.allclose(found.values["permuted"], found.values["original"], atol=1e-4)


def test_another_confidence_changes_neither_answers_nor_features_nor_what_the_ranks_of_the_loss_give_away(line):
    for metric in ("accuracy", "knn"):
        found = line(metric, "forget")
        assert (found.values["scaled"] == found.values["original"]).all()
    attack = line("mia_auc")
    assert np.allclose(attack.values["scaled"], attack.values["original"], atol=0.03)
    assert (attack.outside["scaled"] == 1).all()
    confidence = line("calibration_error", "test")
    assert (np.abs(confidence.values["scaled"] - confidence.values["original"]) > 0.05).all()


def test_poisoned_labels_are_seen_by_the_answers_and_by_the_features_alike(line):
    answers, features = line("unlearning_accuracy"), line("cka_to_original", "forget")
    assert (answers.outside["poisoned"] == 1).all()
    assert answers.values["poisoned"].min() > answers.values["retrained"].max()  # an original errs less than these
    assert (answers.outside["original"] == -1).all()
    assert (features.outside["poisoned"] == 1).all()
    assert features.values["poisoned"].min() > features.values["retrained"].max()


def test_the_original_has_nothing_to_relearn_and_retrained_models_have(line):
    found = line("relearning_epochs", "forget")
    assert (found.values["original"] == 0).all()
    assert (found.values["permuted"] == 0).all()
    assert found.values["retrained"].min() > 0
    assert (found.outside["original"] == -1).all()


def test_the_page_has_a_row_for_each_metric_and_says_why_others_have_none(rows, benchmarks):
    found, silent = benchmarks[1].lines(rows)
    page = benchmarks[1].page(found, {**silent, "invented": "it does not exist"})
    table = [text for text in page.splitlines() if text.startswith("|")]
    assert len(table) == 2 + len(found)
    assert len({text.count("|") for text in table}) == 1
    assert "- `invented`: it does not exist" in page


def test_sides_and_repetitions_are_counted_as_the_page_says(benchmarks):
    power = benchmarks[1]
    assert [power.side({"gap_low": low, "gap_high": low + 2}) for low in (-3, -1, 1)] == [-1, 0, 1]
    assert power.count(np.array([1, 1, -1, 0])) == "3/4 high"
    assert power.count(np.array([0, -1])) == "1/2 low"
    assert power.count(np.array([0, 0])) == "0/2"
    same = {"model": "retrained-0", "value": 1.0, "gap": 0.5}
    assert power.distinct([same, dict(same), {**same, "value": 2.0}]) == [same, {**same, "value": 2.0}]
