"""Run from the experiment file to the report, then run again on the same storage."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from raybench.distributed.cluster import Cluster

from .conftest import run_folder

pytestmark = [pytest.mark.ray, pytest.mark.slow]
Succeed = Callable[..., str]
TABLES = ("splits", "models", "trials", "search", "samples", "metrics")


def read(storage: Path, table: str) -> pd.DataFrame:
    return pq.read_table(run_folder(storage, "small") / "tables" / f"{table}.parquet").to_pandas()


def modified(storage: Path) -> dict[str, int]:
    files = (path for path in (storage / "artifacts").rglob("*") if path.is_file())
    return {str(path): path.stat().st_mtime_ns for path in files}


def test_a_run_prints_stages_the_leaderboard_and_where_its_files_are(finished: Path) -> None:
    printed = (finished / "printed.txt").read_text()
    for words in (
        "train ",
        "sweep ",
        "finalists",
        "evaluate ",
        "retrained",
        "original",
        "1 ",
        "control:",
        "tables ",
        "tensorboard --logdir",
    ):
        assert words in printed
    assert "Traceback" not in printed


def test_a_run_ends_in_seven_tables_that_duckdb_reads(finished: Path) -> None:
    folder = run_folder(finished, "small") / "tables"
    for table in TABLES:
        assert duckdb.sql(f"SELECT count(*) FROM '{folder}/{table}.parquet'").fetchall()[0][0] > 0
    models, rows = duckdb.sql(
        f"SELECT count(DISTINCT model), count(*) FROM '{folder}/predictions/*.parquet'"
    ).fetchall()[0]
    reported = read(finished, "splits").tuning.isna()
    assert 0 < reported.sum() < len(reported)
    assert rows == models * reported.sum()


def test_every_metric_row_has_a_number_with_n_and_interval_or_a_reason(finished: Path) -> None:
    metrics = read(finished, "metrics")
    without = metrics[metrics.value.isna()]
    assert without.reason.notna().all()
    with_value = metrics[metrics.value.notna()]
    assert (with_value.n > 0).all()
    assert with_value.interval.notna().all()
    assert set(metrics.kind) == {"original", "retrained", "unlearned"}
    assert with_value[with_value.metric == "accuracy"].gap.notna().all()


def test_the_four_accuracies_are_those_of_the_stored_predictions(finished: Path) -> None:
    metrics = read(finished, "metrics")
    predictions = pq.read_table(run_folder(finished, "small") / "tables" / "predictions").to_pandas()
    right = predictions.assign(
        right=[float(row.argmax() == y) for row, y in zip(predictions.logits, predictions.label)]
    )
    expected = right.groupby(["model", "split"]).right.mean()
    for row in metrics[metrics.metric == "accuracy"].itertuples():
        assert row.value == pytest.approx(expected[row.model, row.split], abs=1e-12)


def test_runs_start_from_their_own_originals_and_are_compared_with_them(finished: Path) -> None:
    models, metrics, samples = (read(finished, name) for name in ("models", "metrics", "samples"))
    assert models[models.kind == "original"].original.tolist() == [0, 1]
    finetuned = models[models.method == "finetune"].sort_values("seed")
    assert finetuned.original.tolist() == [0, 1]
    assert set(models[models.kind == "retrained"].original) == {0}
    number = models.set_index("model").original
    for table in (metrics, samples):
        assert (table.original == table.model.map(number)).all()
    trials = read(finished, "trials")
    assert set(trials[trials.phase == "search"].original) == {0}
    assert set(trials[trials.phase == "final"].original) == {0, 1}
    assert (
        "ranks: they hold over originals, from 2 originals" in (run_folder(finished, "small") / "report.md").read_text()
    )


def test_a_failing_method_is_a_row_with_its_error_and_stops_nothing(finished: Path) -> None:
    trials = read(finished, "trials")
    broken = trials[trials.method == "user_code.broken"]
    assert set(broken.status) == {"failed"}
    assert broken.reason.str.contains("a mistake in the method").all()
    assert broken.traceback.str.contains("user_code.py").all()
    report = (run_folder(finished, "small") / "report.md").read_text()
    assert "user_code.broken: failed: ZeroDivisionError: a mistake in the method" in report


def test_a_user_defined_method_is_swept_and_ranked_beside_the_others(finished: Path) -> None:
    trials = read(finished, "trials")
    search = trials[(trials.method == "user_code.shrink") & (trials.phase == "search")]
    assert len(search) == 3
    assert search.hp_by.between(0.01, 0.2).all()
    assert set(search.budget_trials) == {3}
    assert "user_code.shrink" in (finished / "printed.txt").read_text()


def test_the_sweep_reads_no_test_sample(finished: Path) -> None:
    columns = read(finished, "trials").columns
    assert "validation_accuracy" in columns
    assert not [name for name in columns if "test" in name or "unseen" in name]


def test_tensorboard_shows_the_curves_and_the_hyperparameters(finished: Path) -> None:
    board = run_folder(finished, "small") / "tensorboard"
    training = EventAccumulator(str(board / "training" / "original")).Reload()
    assert len(training.Scalars("train/loss")) == 3
    assert len(training.Scalars("validation/accuracy")) == 3
    trial = next((board / "sweep" / "finetune").iterdir())
    assert len(list(trial.iterdir())) == 1
    events = EventAccumulator(str(trial)).Reload()
    assert events.Scalars("objective/gap_to_retrained")
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert (board / "evaluation" / "finetune").is_dir()


def test_the_manifest_says_what_the_run_was_made_with(finished: Path) -> None:
    manifest = json.loads((run_folder(finished, "small") / "manifest.json").read_text())
    assert manifest["packages"]["torch"]
    assert manifest["seeds"]["retrained"] == [1, 2]
    assert manifest["seeds"]["originals"] == [0, 10_001]
    assert "user_code.shrink" in manifest["experiment"]


def test_running_again_trains_nothing_and_needs_no_ray(
    finished: Path, succeed: Succeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = modified(finished)
    tables = {table: read(finished, table) for table in TABLES}
    monkeypatch.setattr(Cluster, "start", lambda _: pytest.fail("Ray was started"))
    printed = succeed("run", "small.yaml", "--storage", str(finished))
    assert modified(finished) == before
    assert "cached)" in printed
    for table in TABLES:
        pd.testing.assert_frame_equal(read(finished, table), tables[table])


def test_new_metrics_on_an_old_run_touch_no_model(finished: Path, succeed: Succeed, tmp_path: Path) -> None:
    storage = tmp_path / "copy"
    shutil.copytree(finished, storage)
    for weights in (storage / "artifacts" / "models").glob("*.pt"):
        weights.unlink()
    succeed("run", "small.yaml", "--storage", str(storage), "--set", "evaluate.metrics=[accuracy, nomus]")
    assert "nomus" in set(read(storage, "metrics").metric)
    assert "cr" not in set(read(storage, "metrics").metric)


def test_report_prints_the_table_again(finished: Path, succeed: Succeed) -> None:
    assert "user_code.shrink" in succeed("report", "small", "--storage", str(finished))


def test_optuna_with_asha_keeps_to_the_budget_and_continues_from_finished_trials(
    finished: Path, succeed: Succeed, tmp_path: Path
) -> None:
    storage = tmp_path / "copy"
    shutil.copytree(finished, storage)
    words = ["--storage", str(storage), "--set", "sweep.search=optuna", "--set", "sweep.scheduler=asha"]
    words += ["--set", "methods.finetune={lr: {loguniform: [0.001, 0.1]}, epochs: 3}", "--set", "sweep.originals=1"]
    for other in ("retrain", "user_code.shrink", "user_code.broken"):
        words += ["--set", f"methods.{other}=null"]
    succeed(
        "run",
        "small.yaml",
        "--until",
        "sweep",
        *words,
        "--set",
        "sweep.trials=2",
        "--set",
        "resources.cpus_per_trial=2",
    )
    folder = next((storage / "artifacts" / "searches").iterdir())
    kept = {path.name: path.read_text() for path in folder.glob("*.json")}
    assert len(kept) == 2
    assert "(2 cached)" in succeed("run", "small.yaml", "--until", "sweep", *words, "--set", "sweep.trials=4")
    now = {path.name: path.read_text() for path in folder.glob("*.json")}
    assert len(now) == 4
    assert {name: now[name] for name in kept} == kept
    assert all(json.loads(text)["status"] in ("finished", "stopped") for text in now.values())


def test_events_for_programs_end_in_the_result(finished: Path, raybench: Callable[..., Any]) -> None:
    done = raybench("run", "small.yaml", "--storage", str(finished), "--json")
    assert done.code == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["start", "result"]
    assert {event["stage"] for event in events if event["event"] == "stage"} >= {"train", "sweep", "predict"}
    result = events[-1]
    assert Path(result["paths"]["report"]).is_file()
    assert result["verdicts"]["user_code.broken"] == "failed"
    assert {row["name"] for row in result["leaderboard"]} == {"original", "retrained", *result["verdicts"]}
    assert "tensorboard --logdir" in done.stderr
    failed = raybench("run", "missing.yaml", "--storage", str(finished), "--json")
    error = json.loads(failed.stdout)
    assert (failed.code, error["event"], error["kind"]) == (2, "error", "UserError")
    assert "missing.yaml" in error["message"]


def test_the_driver_reads_what_a_worker_works_on(local_ray: None) -> None:
    import ray

    from raybench import activity
    from raybench.distributed.activities import announce, reader

    @ray.remote
    def work(go: str) -> None:
        announce()
        activity.INTERVAL_SECONDS = 0
        with activity.working_on("train one for the display"):
            activity.begin_epoch(1, 4)
            activity.advance(64, loss=0.5, done=0.3)
            while not os.path.exists(go):
                time.sleep(0.01)

    with tempfile.TemporaryDirectory() as folder:
        task, read = work.remote(f"{folder}/go"), reader()
        deadline = time.monotonic() + 60

        def states() -> list[activity.State]:
            """Return what this task works on; workers that other tests killed may still be listed."""
            return [state for state in read() if state.name == "train one for the display"]

        while not (found := states()) or found[0].loss is None:
            assert time.monotonic() < deadline
        assert [(state.epoch, state.epochs, state.loss) for state in found] == [(2, 4, 0.5)]
        Path(folder, "go").touch()
        ray.get(task)
    assert states() == []
