"""What a real TensorBoard shows of a run, asked over HTTP in its default (fast) loading mode."""

import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from raybench.engine.audit import objective
from raybench.jobs.specs import model_id
from raybench.metrics.functions.roc import auc
from raybench.pipeline.curves import complete_curves, write_overview
from raybench.report.build import build_leaderboard
from raybench.report.tensorboard import write_evaluation
from raybench.storage.tensorboard import growing


@pytest.fixture(scope="module")
def folder(trained, swept, tables_folder):
    """Return the TensorBoard folder of the tiny run, as the pipeline and the report leave it."""
    scenario = trained.scenario
    store, name = scenario.store, scenario.folder
    with growing(store, f"{name}/tensorboard/sweep/finetune/of-an-earlier-experiment") as curve:
        curve.log(0, {"train/loss": 9.0})
        curve.publish()
    write_overview(scenario, "name: tiny")
    complete_curves(scenario, trained, swept)
    frames = {table: pq.read_table(tables_folder / f"{table}.parquet").to_pandas() for table in TABLES}
    board = build_leaderboard(frames["metrics"], frames["models"], frames["trials"])
    markdown = "# tiny\n\n| | UA |\n| --- | --- |\n| finetune | 3.0 |\n\n## Verdict\n\n- forgotten\n\n## Notes\n\nmore"
    write_evaluation(store, name, board, frames["models"], markdown)
    return store.path(f"{name}/tensorboard")


TABLES = ("metrics", "models", "trials", "samples")


@pytest.fixture(scope="module")
def ask(folder):
    """Start TensorBoard; return a function that requests a path of its data."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--port", "0", "--host", "127.0.0.1"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        lines = iter(server.stderr.readline, "")
        port = next(match[1] for line in lines if (match := re.search(r"http://127\.0\.0\.1:(\d+)/", line)))

        def request(path, body=None, **query):
            url = f"http://127.0.0.1:{port}/data/{path}?{urllib.parse.urlencode(query)}"
            data = None if body is None else json.dumps(body).encode()
            asked = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
            with urllib.request.urlopen(asked, timeout=30) as response:
                return json.load(response)

        waited = time.monotonic()
        while len(request("runs")) < len(runs_of(folder)):  # it loads in the background
            assert time.monotonic() - waited < 60
            time.sleep(0.1)
        yield request
    finally:
        server.terminate()
        server.wait(timeout=30)
        server.stderr.close()


def runs_of(folder):
    return {path.parent.relative_to(folder).as_posix() for path in Path(folder).rglob("*tfevents*")}


def curve(ask, run, tag):
    return [(step, value) for _, step, value in ask("plugin/scalars/scalars", run=run, tag=tag)]


pytestmark = pytest.mark.slow


def test_a_folder_per_job_and_per_row_of_the_leaderboard(ask, trained, swept):
    runs = set(ask("runs"))
    assert {"training/original", "training/retrained-1", "experiment", "leaderboard"} <= runs
    assert {f"final/{method}/seed-3" for method in ("retrain", "finetune", "gradient_ascent")} <= runs
    assert {f"sweep/finetune/{model_id(record['key'])[:8]}" for record in swept.search["finetune"]} == {
        run for run in runs if run.startswith("sweep/finetune/")
    }
    rows = {run.split("/")[1] for run in runs if run.startswith("evaluation/")}
    assert rows == {"original", "retrained", "retrain", "finetune", "gradient_ascent", "own_tiny_methods.crash"}


def test_every_point_of_every_curve_is_shown(ask, trained, swept):
    for job, record in zip(trained.jobs, trained.records):
        losses = [(row["epoch"], pytest.approx(row["loss"], rel=1e-5)) for row in record["curve"]]
        assert curve(ask, f"training/{job.name}", "train/loss") == losses
        assert len(losses) == 2
    experiment = trained.scenario.experiment
    for record in swept.search["finetune"]:
        run = f"sweep/finetune/{model_id(record['key'])[:8]}"
        for field, tag in (("forget_accuracy", "forget/accuracy"), ("mia_auc", "membership/auc")):
            expected = [(row["epoch"], pytest.approx(row[field], rel=1e-5)) for row in record["epochs"]]
            assert curve(ask, run, tag) == expected
        name = experiment.sweep.objective
        values = [objective(name, row, trained.tuning_target(record["original"])) for row in record["epochs"]]
        assert [value for _, value in curve(ask, run, f"objective/{name}")] == pytest.approx(values, rel=1e-5)
    tags = ask("plugin/scalars/tags")
    assert {"validation/accuracy", "validation/loss"} == set(tags["training/original"]) & set(tags[run])


def test_hparams_has_the_columns_of_all_methods_and_a_row_per_trial(ask, swept):
    experiment = ask("plugin/hparams/experiment", body={"experimentName": ""})
    columns = {info["name"] for info in experiment["hparamInfos"]}
    assert columns == {"method", "phase", "seed", "original", "lr", "epochs"}
    statuses = ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING", "STATUS_UNKNOWN"]
    groups = ask(
        "plugin/hparams/session_groups",
        body={"experimentName": "", "allowedStatuses": statuses, "startIndex": 0, "sliceSize": 1000, "colParams": []},
    )["sessionGroups"]
    by_run = {group["sessions"][0]["name"]: group for group in groups}
    assert len(by_run) == 2 + 4  # trials of finetune, and a final run per method
    failed = by_run["final/own_tiny_methods.crash/seed-3"]
    assert failed["sessions"][0]["status"] == "STATUS_FAILURE"
    for record in swept.search["finetune"]:
        group = by_run[f"sweep/finetune/{model_id(record['key'])[:8]}"]
        assert group["hparams"]["lr"] == pytest.approx(record["setting"]["lr"])
        assert (group["hparams"]["method"], group["hparams"]["phase"]) == ("finetune", "search")
        values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        assert values["forget/accuracy"] == pytest.approx(record["audit"]["forget_accuracy"], rel=1e-5)
    assert set(by_run["final/retrain/seed-3"]["hparams"]) == {"method", "phase", "seed", "original"}


def test_histograms_hold_every_sample_of_every_role(ask, trained):
    sizes = trained.scenario.splits().sizes()
    tags = ask("plugin/histograms/tags")
    assert set(tags["evaluation/retrained"]) == {
        f"{signal}/{role}" for signal in ("log10_loss", "margin") for role in ("forget", "retain", "test", "unseen")
    }
    for role in ("forget", "retain", "test", "unseen"):
        series = ask("plugin/histograms/histograms", run="evaluation/retrained", tag=f"log10_loss/{role}")
        assert [step for _, step, _ in series] == [0, 1]  # one per retrained model
        assert [sum(bucket[2] for bucket in buckets) for *_, buckets in series] == [sizes[role]] * 2


def test_the_curve_of_the_attack_has_its_area_and_starts_at_full_recall(ask, trained, tables_folder):
    samples = pq.read_table(tables_folder / "samples.parquet").to_pandas()
    original = samples[samples.model == trained.jobs[0].model.id]
    (entry,) = ask("plugin/pr_curves/pr_curves", run="evaluation/original", tag="membership/forget_or_unseen")[
        "evaluation/original"
    ]
    recall, precision = np.array(entry["recall"]), np.array(entry["precision"])
    assert (recall[0], precision[0]) == (1.0, pytest.approx(0.5))
    assert len(recall) > 190
    assert recall[-1] < 0.05
    assert (np.diff(recall) <= 0).all()
    assert ((precision > 0) & (precision <= 1)).all()
    false_positive = recall * (1 / precision - 1)
    losses = {split: original[original.split == split].loss.to_numpy() for split in ("forget", "unseen")}
    area = -np.trapezoid(recall, false_positive) + recall[-1] * false_positive[-1] / 2
    assert area == pytest.approx(auc(-losses["forget"], -losses["unseen"]), abs=0.01)


def test_the_leaderboard_is_a_table_with_its_verdicts_and_its_numbers_are_scalars(ask):
    (entry,) = ask("plugin/text/text", run="leaderboard", tag="leaderboard")
    assert "<table>" in entry["text"]
    assert "forgotten" in entry["text"]
    assert "more" not in entry["text"]
    tags = ask("plugin/scalars/tags")["evaluation/finetune"]
    assert {"leaderboard/gap", "leaderboard/UA", "leaderboard/relative_cost"} <= set(tags)
    assert len(curve(ask, "evaluation/finetune", "leaderboard/gap")) == 1
    (entry,) = ask("plugin/text/text", run="final/own_tiny_methods.crash/seed-3", tag="status")
    assert "the method's own fault" in entry["text"]
