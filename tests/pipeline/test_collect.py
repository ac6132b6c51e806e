"""Test the seven tables that are collected from a run's artifacts."""

import json
import os
from dataclasses import replace

import pandas as pd
import pytest

from raybench.data.splits import ROLES
from raybench.engine.audit import AUDIT_FIELDS, objective
from raybench.pipeline import collect
from raybench.pipeline.collect import collect_tables


@pytest.fixture(scope="module")
def frames(tables_folder):
    return {path.stem: pd.read_parquet(path) for path in tables_folder.glob("*.parquet")}


def test_splits_give_every_sample_its_role_label_and_whether_it_was_mislabeled(frames, trained):
    splits, labels = trained.scenario.splits(), trained.scenario.data().labels
    frame = frames["splits"].set_index("id")
    for role in ROLES:
        assert frame.index[frame.role == role].tolist() == splits.ids(role).tolist()
    assert (frame.label == labels[frame.index]).all()
    assert set(frame.index[frame.mislabeled]) <= set(splits.mislabeled.tolist())
    assert 0 < frame.mislabeled.mean() < 0.2
    assert frame.group.isna().all()


def test_models_hold_the_original_the_retrained_and_the_final_runs_with_their_cost(frames, trained, swept):
    frame = frames["models"]
    assert frame.kind.value_counts().to_dict() == {"retrained": 2, "original": 1, "unlearned": len(swept.jobs)}
    by_name = frame.set_index("name")
    assert by_name.loc["retrained-1", "relative_cost"] == 1
    assert by_name.loc["original", "relative_cost"] == pytest.approx(200 / 160)
    assert by_name.loc["retrain-3", "relative_cost"] == pytest.approx(1)
    cheap = by_name.loc["gradient_ascent-3"]
    assert cheap.relative_cost == pytest.approx((cheap.samples_forward + 2 * cheap.samples_backward) / (3 * 2 * 160))
    assert 0 < cheap.relative_cost < 0.2
    assert json.loads(by_name.loc["original", "recipe"])["epochs"] == 2
    assert by_name.loc["gradient_ascent-3", "hp_lr"] == 1e-4
    for job, record in zip(trained.jobs, trained.records):
        assert {key: by_name.loc[job.name, key] for key in AUDIT_FIELDS} == pytest.approx(record["audit"])


def test_trials_have_a_row_per_epoch_and_a_failed_one_a_row_with_its_traceback(frames, swept, trained):
    frame = frames["trials"]
    failed = frame[frame.method == "own_tiny_methods.crash"]
    assert len(failed) == 1
    assert failed.iloc[0].status == "failed"
    assert "the method's own fault" in failed.iloc[0].traceback
    assert failed[list(AUDIT_FIELDS)].isna().all(axis=None)
    assert bool(failed.iloc[0]["last"])
    for record in swept.search["finetune"]:
        of_trial = frame[frame.trial == record["key"].rsplit("/")[-1]]
        assert len(of_trial) == len(record["epochs"])
        assert of_trial["last"].tolist() == [False] * (len(of_trial) - 1) + [True]
        expected = objective("gap_to_retrained", record["audit"], trained.retrained)
        assert of_trial.iloc[-1].objective == pytest.approx(expected)
    assert set(frame.budget_trials) == {2}


def test_the_chosen_setting_is_marked_in_the_search_and_in_its_final_runs(frames, swept):
    frame = frames["trials"]
    chosen = frame[(frame.phase == "search") & frame.chosen]
    assert set(chosen.trial) == {record["key"].rsplit("/")[-1] for record in swept.chosen.values()}
    assert frame[frame.phase == "final"].chosen.all()


def test_metrics_hold_gaps_to_the_retrained_models_noise_floor_and_control(frames):
    frame = frames["metrics"]
    for kind in ("original", "retrained", "unlearned"):
        selected = frame[(frame.kind == kind) & (frame.metric == "accuracy") & (frame.split == "forget")]
        assert selected.gap.notna().all()
        assert (selected.gap_n == (1 if kind == "retrained" else 2)).all()
    retrained = frame[(frame.kind == "retrained") & (frame.metric == "accuracy") & (frame.split == "test")]
    assert retrained.gap.sum() == pytest.approx(0)
    assert set(frame[frame.metric == "average_gap"].kind) == {"original", "retrained", "unlearned"}
    assert (frame.value.isna() == frame.reason.notna()).all()


def test_samples_have_the_number_of_the_original_in_this_run_and_not_in_the_run_that_scored_them(trained, evaluated):
    scored = evaluated.jobs[-1]
    stored = trained.scenario.store.read_table(scored.samples_key)
    assert stored["original"].null_count == len(stored)
    renumbered = replace(scored, model=replace(scored.model, original=3))
    assert set(collect._samples(trained.scenario, renumbered)["original"].to_pylist()) == {3}


def test_every_model_in_the_tables_is_one_of_the_models(frames):
    known = set(frames["models"].model[frames["models"].status != "failed"])
    assert set(frames["metrics"].model) == set(frames["samples"].model) == known


def test_predictions_are_shared_with_the_artifacts_and_not_copied(trained, tables_folder, evaluated):
    store = trained.scenario.store
    for path in (tables_folder / "predictions").iterdir():
        model, _, rest = path.name.partition("-")
        assert os.stat(store.path(f"artifacts/predictions/{model}/{rest}")).st_ino == path.stat().st_ino


def test_collecting_again_gives_the_same_tables_and_drops_predictions_of_an_earlier_version(
    trained, swept, evaluated, tables_folder
):
    before = {path.name: path.read_bytes() for path in tables_folder.rglob("*.parquet")}
    (tables_folder / "predictions" / "stale.parquet").write_bytes(b"old")
    collect_tables(trained.scenario, trained, swept, evaluated.audited, evaluated.jobs)
    assert {path.name: path.read_bytes() for path in tables_folder.rglob("*.parquet")} == before


def test_metrics_are_written_last_since_they_say_that_the_rest_is_there(trained, swept, evaluated, monkeypatch):
    store, written = trained.scenario.store, []
    write = type(store).write_table
    monkeypatch.setattr(type(store), "write_table", lambda self, key, t: written.append(key) or write(self, key, t))
    collect_tables(trained.scenario, trained, swept, evaluated.audited, evaluated.jobs)
    assert written[-1] == f"{trained.scenario.folder}/tables/metrics.parquet"
    assert len(written) == 8
