"""The evaluation of splits that are never held whole, with the real models of the tiny experiment."""

import itertools

import numpy as np
import pytest

from raybench.distributed.evaluate import in_order
from raybench.errors import UserError
from raybench.jobs import keys, plan
from raybench.jobs.large_splits import large_splits, refusals
from raybench.jobs.predict import Predictor
from raybench.jobs.prediction_plan import predict_jobs
from raybench.jobs.score import Scorer, read_rows
from raybench.jobs.specs import StreamJob
from raybench.scoring.binding import get_metric
from raybench.scoring.metric_rows import metric_names, metric_spec
from raybench.storage import tables

SETTINGS = {
    "cka_to_retrained": {"limit": None},
    "coverage": {"score": "raps"},
    "calibration_error": {"bins": 5},
    "mia_svc": {"signal": "entropy"},
}
METRICS = {
    name: SETTINGS.get(name, {})
    for name in metric_names()
    if not metric_spec(get_metric(name)).on_request and metric_spec(get_metric(name)).splits != ("downstream",)
}


@pytest.fixture(scope="module")
def scenarios(make_scenario):
    """The tiny experiment as it is, and with every split streamed."""
    common = {"evaluate__metrics": METRICS, "evaluate__alphas": [0.2], "resources__threads": 1}
    return make_scenario(**common), make_scenario(**common, evaluate__stream_above=30)


@pytest.fixture(scope="module")
def results(scenarios, evaluated):
    """Rows and samples of one model of each kind, by scenario."""
    one_of_each = list({model.kind: model for model in evaluated.audited}.values())
    audited = [model for model in evaluated.audited if model in one_of_each or model.kind == "retrained"]
    found = []
    for scenario in scenarios:
        predictor, scorer = Predictor(scenario), Scorer(scenario)
        jobs = predict_jobs(scenario, audited)
        for job in itertools.chain(*in_order(jobs)):
            predictor(job)
        assert all(job.finished(scenario.store) == job.units for job in jobs)
        scored = [job for job in plan.score_jobs(scenario, audited) if job.model in one_of_each]
        for job in scored:
            scorer(job)
        found.append((read_rows(scenario, scored), [scenario.store.read_table(job.samples_key) for job in scored]))
    return found


def test_the_metric_rows_are_those_of_whole_splits(results):
    (whole, _), (streamed, _) = results
    assert len(streamed) == len(whole)
    for expected, row in zip(whole, streamed, strict=True):
        if expected["metric"] == "cka_batched" and row["value"] is None:
            kept = f"evaluate.keep: {{{row['split']}: features}}"
            assert row["reason"] == f"it reads the features of {row['split']} as a whole, which is not stored ({kept})"
            continue
        for name, value in expected.items():
            if isinstance(value, float):
                # the same predictions in other batches, and CKA in float32 products of other blocks
                np.testing.assert_allclose(
                    row[name], value, rtol=1e-4, atol=2e-5, err_msg=f"{expected['metric']} {name}"
                )
            elif isinstance(value, list):
                np.testing.assert_allclose(
                    np.array(row[name], float), np.array(value, float), rtol=1e-4, atol=2e-5, err_msg=expected["metric"]
                )
            else:
                assert row[name] == value, expected["metric"]


def test_the_sample_rows_are_those_of_whole_splits(results):
    (_, whole), (_, streamed) = results
    for expected, found in zip(whole, streamed, strict=True):
        assert found.schema == expected.schema
        for name in expected.column_names:
            left, right = found[name].to_pandas(), expected[name].to_pandas()
            if left.dtype == float:
                np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
            else:
                assert left.equals(right), name


def test_only_signals_and_statistics_are_stored_of_a_streamed_split(scenarios, evaluated):
    _, scenario = scenarios
    large = large_splits(scenario)
    # calibration logits for prediction sets, and the queries of the k-NN, are needed whole beside a streamed array
    assert {role: large.kept(role) for role in scenario.roles} == {
        "retain": (),
        "forget": ("features",),
        "validation": (),
        "calibration": ("logits",),
        "test": ("features",),
        "unseen": ("features",),
    }
    jobs = [job for job in predict_jobs(scenario, evaluated.audited) if isinstance(job, StreamJob)]
    assert {job.role for job in jobs} == set(scenario.roles)
    phases = in_order(jobs)
    first = {job.role for job in phases[0]}
    assert "calibration" in first
    assert "retain" not in first
    model = evaluated.audited[0].key
    signals = [str(key) for key, _ in keys.piece_keys(scenario, model, "retain", kept=())]
    stored = [scenario.store.read_table(key) for key in signals]
    assert all(table.schema.equals(tables.SCHEMAS["signals"]) for table in stored)
    ids = np.concatenate([table["id"].to_numpy() for table in stored])
    assert sorted(ids) == sorted(scenario.role_ids("retain"))


def test_a_piece_that_was_lost_is_computed_again_and_nothing_else(scenarios, evaluated, results):
    _, scenario = scenarios
    audited = [model for model in evaluated.audited if model.kind != "unlearned"]
    jobs = [job for job in predict_jobs(scenario, audited) if isinstance(job, StreamJob)]
    job = next(job for job in jobs if job.role == "retain")
    lost = job.files[0].statistics[0][2]
    before = scenario.store.read_archive(lost)
    scenario.store.delete(lost)
    assert job.finished(scenario.store) == job.units - 1
    assert Predictor(scenario)(job) == 1
    assert scenario.store.read_archive(lost) == before


def test_the_arrays_that_a_user_keeps_are_stored(make_scenario):
    scenario = make_scenario(evaluate__stream_above=30, evaluate__keep={"retain": "features", "test": "logits"})
    large = large_splits(scenario)
    assert not large.is_streamed("retain")
    assert "logits" in large.kept("test")


def test_no_split_is_streamed_by_default(make_scenario):
    assert large_splits(make_scenario()).needs.streamed == frozenset()


def test_a_metric_that_needs_a_whole_split_says_so(make_scenario):
    scenario = make_scenario(evaluate__stream_above=30, evaluate__metrics=["cka_rbf_to_retrained", "accuracy"])
    sentences = refusals(scenario, 64)
    assert any("cka_rbf_to_retrained is not computed on retain" in sentence for sentence in sentences)
    assert all("evaluate.keep" in sentence for sentence in sentences)


OWN = '''
from raybench import Estimate, metric
from raybench.metrics.functions.intervals import bounded_mean


@metric(source="a test", direction="match", splits=("forget", "retain"))
def largest(logits):
    """Compute the mean of the largest logit."""
    return bounded_mean(logits.max(axis=1))
'''


def test_a_users_metric_that_reads_a_whole_split_is_refused(make_scenario, tmp_path, monkeypatch):
    (tmp_path / "own_whole_metric.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    scenario = make_scenario(evaluate__stream_above=30, evaluate__metrics=["own_whole_metric.largest"])
    with pytest.raises(
        UserError, match=r"own_whole_metric\.largest reads the logits of forget as a whole: 40 samples"
    ) as error:
        refusals(scenario, 64)
    assert "row_wise" in str(error.value)
    assert "evaluate.keep: {forget: logits}" in str(error.value)
