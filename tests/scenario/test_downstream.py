"""Downstream sets: stored under separate keys, predicted by every model, scored, and refused if invalid."""

import sys

import numpy as np
import pytest

from raybench import models
from raybench.commands import check
from raybench.data.splits import ROLES
from raybench.engine.prediction import predict
from raybench.errors import UserError
from raybench.jobs import plan
from raybench.jobs.keys import predictions_keys
from raybench.jobs.plan import score_jobs
from raybench.jobs.predict import Predictor
from raybench.jobs.prediction_plan import predict_jobs
from raybench.jobs.score import Scorer, read_rows
from raybench.jobs.stored import StoredPredictions
from raybench.metrics.downstream import downstream_knn
from raybench.pipeline.collect import collect_tables

OWN = """
import numpy as np
from raybench.data.images import LEFT_OUT, TEST, ImageData, dataset


@dataset(source="made up")
def stripes(root=None, *, download=False, n=60, channels=1, side=8):
    random = np.random.default_rng(0)
    labels = np.arange(n) % 3
    images = random.integers(0, 60, (n, side, side, channels))
    for i, label in enumerate(labels):
        images[i, label::3] += 180
    part = np.where(np.arange(n) % 4, 0, TEST).astype(np.uint8)
    part[-1] = LEFT_OUT
    names, mean = ("top", "middle", "bottom"), (0.5,) * channels
    return ImageData(images.astype(np.uint8), labels.astype(np.int64), part, names, mean, mean)


@dataset(source="made up")
def attributes(root=None, *, download=False):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (200, 8, 8, 1), np.uint8), random.integers(0, 2, (200, 2), np.uint8)
    return ImageData(images, labels, np.zeros(200, dtype=np.uint8), ("old", "glad"), (0.5,), (0.5,))
"""

METRICS = ["accuracy", "downstream_knn", "downstream_knn_logits", "downstream_cka_to_retrained", "cka_batched", "h_lr"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Put a user-defined data set on the path; return its section of an experiment."""
    folder = tmp_path_factory.mktemp("own_sets")
    (folder / "own_sets.py").write_text(OWN)
    sys.path.insert(0, str(folder))
    yield lambda **changes: {"evaluate__downstream": {"stripes": {"dataset": "own_sets.stripes", **changes}}}
    sys.path.remove(str(folder))


ROLE = "downstream-stripes"


def test_a_set_is_kept_under_its_own_key_and_read_by_the_role_that_is_named_after_it(make_scenario, sets, trained):
    scenario = make_scenario(**sets())
    assert scenario.roles == (*ROLES, ROLE)
    assert (scenario.data_key, scenario.splits_key) == (trained.scenario.data_key, trained.scenario.splits_key)
    assert scenario.store.exists(f"{scenario.downstream[ROLE].key}/meta.json")
    assert scenario.role_ids(ROLE).tolist() == list(range(59))  # both official parts, and not what is left out
    split = scenario.role_samples(ROLE, np.array([3, 7]))
    x, y = split.batch(np.arange(2), generator=None)
    assert x.shape == (2, 1, 8, 8)
    assert y.tolist() == [0, 1]
    with pytest.raises(UserError, match="unknown role 'downstream-stripe'; did you mean 'downstream-stripes'"):
        scenario.role_ids("downstream-stripe")


def test_a_limit_draws_the_same_samples_every_time(make_scenario, sets):
    some = make_scenario(**sets(limit=20)).role_ids(ROLE)
    assert len(set(some)) == 20
    assert some.tolist() == sorted(some)
    assert np.array_equal(some, make_scenario(**sets(limit=20)).role_ids(ROLE))
    assert len(make_scenario(**sets(limit=500)).role_ids(ROLE)) == 59


@pytest.mark.parametrize(("metric", "most"), [("downstream_knn", 47), ("downstream_knn_logits", 47)])
def test_more_neighbors_than_samples_are_refused_before_anything_runs(make_scenario, sets, metric, most):
    make_scenario(**sets(), evaluate__metrics={"accuracy": {}, metric: {"k": most}})
    with pytest.raises(UserError, match=rf"evaluate.metrics.{metric}.k = 48: must be at most {most}, .*stripes that"):
        make_scenario(**sets(), evaluate__metrics={"accuracy": {}, metric: {"k": most + 1}})


def test_a_set_adds_predictions_of_its_own_and_changes_no_others(make_scenario, sets, trained):
    plain, with_set = make_scenario(), make_scenario(**sets())
    for role in ROLES:
        keys = [predictions_keys(scenario, trained.original, role) for scenario in (plain, with_set)]
        assert keys[0] == keys[1]
    known = predictions_keys(with_set, trained.original, ROLE)
    for changes in ({"limit": 20}, {"options": {"n": 40}}, {"resize": 9}, {"normalize": "none"}):
        assert predictions_keys(make_scenario(**sets(**changes)), trained.original, ROLE) != known
    audited = plan.evaluated_models(trained.jobs, [])
    assert {job.key for job in score_jobs(plain, audited)}.isdisjoint(job.key for job in score_jobs(with_set, audited))


@pytest.fixture(scope="module")
def scored(make_scenario, sets, trained):
    scenario = make_scenario(**sets(), evaluate__metrics=METRICS, name="elsewhere")
    audited = plan.evaluated_models(trained.jobs, [])
    for job in predict_jobs(scenario, audited):
        Predictor(scenario)(job)
    scorer, jobs = Scorer(scenario), score_jobs(scenario, audited)
    for job in jobs:
        scorer(job)
    return scenario, audited, jobs


def test_every_model_is_asked_once_and_the_labels_are_those_of_the_set(scored, trained):
    scenario, audited, _ = scored
    assert all(job.finished(scenario.store) == job.units for job in predict_jobs(scenario, audited))
    stored = StoredPredictions(scenario)
    for model in audited:
        found = stored.read(model.key, ROLE)
        expected = predict(scenario.load(model.key), scenario.role_samples(ROLE, scenario.role_ids(ROLE)))
        for name in ("ids", "labels", "logits", "features"):
            assert np.array_equal(getattr(found, name), getattr(expected, name))
        assert found.logits.shape == (59, 10)  # the model's own classes
        assert set(found.labels) == {0, 1, 2}  # the set's own


def test_every_metric_of_the_set_has_a_number_or_its_reason(scored, trained):
    scenario, _, jobs = scored
    rows = [row for row in read_rows(scenario, jobs) if row["split"] == ROLE]
    assert {row["metric"] for row in rows} == set(METRICS) - {"accuracy", "h_lr"}
    assert len(rows) == 4 * len(jobs)
    stored = StoredPredictions(scenario).read(trained.original, ROLE)
    (own,) = [row for row in rows if row["name"] == "original" and row["metric"] == "downstream_knn"]
    assert own["value"] == pytest.approx(downstream_knn(stored.features, stored.labels).value)
    assert {row["protocol"] for row in rows if row["metric"] in ("downstream_knn_logits", "cka_batched")} == {
        "released"
    }
    joined = [row for row in read_rows(scenario, jobs) if row["metric"] == "h_lr"]
    assert [row["value"] is None for row in joined] == [False] * len(jobs)
    assert all(0 <= row["value"] <= 1 for row in joined)


def test_predictions_of_the_set_stand_beside_those_of_the_roles_in_the_tables(scored, trained, swept):
    scenario, audited, jobs = scored
    collect_tables(scenario, trained, swept, audited, jobs)
    files = [key.rsplit("/", 1)[-1] for key in scenario.store.keys(f"{scenario.folder}/tables/predictions")]
    assert sum(f"-{ROLE}-" in name for name in files) == len(audited)


def test_check_lists_the_sets(sets, make_experiment, trained):
    experiment = make_experiment(**sets(limit=20), train__retrained={"epochs": 1})
    lines = list(check.plan_lines(experiment, trained.scenario.store))
    assert f"  {ROLE}: 20 images of own_sets.stripes" in lines
    assert any("x 7 splits" in line for line in lines)
    assert any("x 2 (retrained: 1) epochs" in line for line in lines)
    assert "  retrained with another recipe: epochs 1" in lines


def test_check_says_what_every_training_starts_from_and_what_is_left_of_its_head(make_experiment, trained, tmp_path):
    file = tmp_path / "pretrained.pt"
    file.write_bytes(models.to_bytes(models.build("cnn", num_classes=100, channels=1, width=4)))
    lines = list(check.plan_lines(make_experiment(model__init=str(file)), trained.scenario.store))
    start = f"init         every training starts from {file}, except its head (13.weight, 13.bias)"
    assert start in lines


def test_class_weights_are_refused_for_several_labels_before_anything_runs(make_scenario, sets):
    with pytest.raises(UserError, match="class_weights: inverse needs one class per sample"):
        make_scenario(
            data={"dataset": "own_sets.attributes", "sizes": {"train": 80, "test": 20, "unseen": 20}},
            forget={"rule": "random", "count": 5},
            train__class_weights="inverse",
        )


@pytest.mark.parametrize(
    ("changes", "model", "said"),
    [
        (
            {"options": {"channels": 3}},
            {"name": "cnn"},
            "its images have 3 channels, but .* have 1",
        ),
        ({"options": {"side": 32}}, {"name": "vit_ti_16"}, "32 x 32 pixels, but the model reads 16 x 16"),
        ({"view": {"size": 8}}, {"name": "cnn"}, "view"),
    ],
)
def test_a_set_that_the_model_cannot_read_is_refused_before_anything_runs(make_scenario, sets, changes, model, said):
    with pytest.raises(UserError, match=rf"evaluate\.downstream\.stripes: .*{said}"):
        make_scenario(**sets(**changes), model=model, data__resize=16)


def test_gray_images_are_widened_for_a_model_that_reads_three_channels(make_scenario, sets):
    scenario = make_scenario(**sets(resize=16), model={"name": "resnet18", "stem": "cifar"})
    x, _ = scenario.role_samples(ROLE, np.arange(2)).batch(np.arange(2), generator=None)
    assert x.shape == (2, 3, 16, 16)
