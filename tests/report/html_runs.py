"""Made-up runs as `report.html` reads them: with every table, with sixty methods, with few tables."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from raybench.report.html import RunFrames
from raybench.storage import tables

MARKUP = 'a<script>alert("x")</script>&$b$'
GOOD = (0.872, 0.992, 0.885, 0.535, 0.705, 0.855, 0.93)
BAD = (0.99, 0.999, 0.88, 0.70, 0.88, 0.98, 0.82)
MANIFEST = {
    "raybench": "0.1.0",
    "raybench_commit": None,
    "packages": {"torch": "2.9"},
    "host": {"system": "Linux", "cpus": 2, "gpus": []},
    "started": "2026-01-01T00:00:00",
    "experiment": "name: made_up\ndata:\n  dataset: digits\n",
    "sweep": {"objective": "gap_to_retrained", "tuning_request": "separate", "searched": ["good"]},
}


def samples_of(models):
    rng = np.random.default_rng(0)
    rows = [
        {"model": model, "split": split, "id": number, "loss": loss, "margin": -np.log(loss)}
        for model in models.model
        for split in ("forget", "unseen")
        for number, loss in enumerate(rng.lognormal(0, 1, 40))
    ]
    return tables.table("samples", rows).to_pandas()


def trials_of(methods):
    rows = []
    for method in methods:
        for number in range(4):
            for epoch in range(3):
                common = {"trial": f"{method}{number}", "method": method, "epoch": epoch, "last": epoch == 2}
                accuracies = dict.fromkeys(("retain_accuracy", "forget_accuracy", "validation_accuracy"), 0.9)
                phase = {"phase": "final" if number == 3 else "search", "chosen": number == 1, "status": "finished"}
                settings = {"hyperparameters": json.dumps({"lr": 0.1 * number, "epochs": 3})}
                rows.append({**common, **accuracies, **phase, **settings, "objective": float(number), "seed": 0})
    return rows


def coverage_and_transfer(metrics):
    models = metrics.drop_duplicates("model")[["model", "name", "kind", "method", "seed", "original"]]
    extra = [
        {**row, "metric": metric, "split": split, "setting": setting, "value": 0.9, "gap": 0.0}
        for row in models.to_dict("records")
        for metric, split, setting in (
            ("coverage", "forget", "alpha=0.1"),
            ("coverage", "forget", "alpha=0.2"),
            ("downstream_knn", "faces", ""),
        )
    ]
    return pd.concat([metrics, tables.table("metrics", extra).to_pandas()], ignore_index=True)


def full(make_run):
    """Return a run with all tables, a failed method, and markup in a name."""
    methods = {"good": [GOOD] * 2, "bad": [BAD, GOOD], MARKUP: [BAD] * 2, "broken": "RuntimeError: <b>no layer</b>"}
    run = make_run(methods)
    trials = pd.concat([run.trials, tables.table("trials", trials_of(["good", "bad"])).to_pandas()], ignore_index=True)
    models = run.models.assign(hyperparameters=json.dumps({"lr": 0.1, "epochs": 3, "note": "<i>"}))
    exposure = [
        {"method": method, "id": number, "exposure": number / 60, "confidence": number - 30.0}
        | {"original_confidence": 5.0, "retrained_confidence": -800.0}
        for method in ("original", "good", MARKUP)
        for number in range(60)
    ]
    search = [
        {"method": "good", "objective": "gap_to_retrained", "trials": n, "expected_best": 3.0 - n, "chosen_value": 0.5}
        | {"chosen_again": 1.0, "runs_again": 2}
        for n in (1, 2, 3)
    ]
    paper = {"source": "p", "paper_table": "p_1", "dataset": "CIFAR-10", "metric": "accuracy", "split": "forget"}
    reported = [{**paper, "method": "good", "unit": "percent", "reported": 90.0, "released": 91.5, "difference": -1.5}]
    metrics = coverage_and_transfer(run.metrics)
    population = [
        {"model": "p-good", "kind": "population", "method": "good", "metric": metric, "value": value}
        for metric, value in (("epsilon_ceiling", 3.0), ("epsilon_cross_fitted_median_null", 0.5))
    ]
    metrics = pd.concat([metrics, tables.table("metrics", population).to_pandas()], ignore_index=True)
    samples = samples_of(models)
    epsilons = [{"model": "p-good", "split": "forget", "id": n, "epsilon": n / 10} for n in range(30)]
    epsilons[0]["epsilon"] = float("inf")
    return RunFrames(
        MARKUP,
        run._replace(trials=trials).board(),
        MANIFEST,
        metrics,
        models,
        trials,
        samples=pd.concat([samples, tables.table("samples", epsilons).to_pandas()], ignore_index=True),
        exposure=tables.table("exposure", exposure).to_pandas(),
        search=tables.table("search", search).to_pandas(),
        reported=tables.table("reported", reported).to_pandas(),
    )


def plain(run):
    return RunFrames("plain", run.board(), {**MANIFEST, "sweep": {"objective": "none"}}, *run[:3])


def sixty(make_run):
    """Return a run with sixty methods, made of one: building so many rows takes long."""
    run = make_run({"good": [GOOD] * 2})
    board, names = run.board(), [f"method_{number}" for number in range(60)]
    good = next(row for row in board.rows if row.name == "good")
    rows = [replace(good, name=name, rank=number + 1) for number, name in enumerate(names)]
    board = replace(board, rows=(*board.rows[:2], *rows))
    models = [run.models.assign(method=name, model=run.models.model + name) for name in names]
    models = pd.concat([run.models, *(part[part.kind == "unlearned"] for part in models)], ignore_index=True)
    trials = tables.table("trials", trials_of(names[:8])).to_pandas()
    return RunFrames("many", board, MANIFEST, run.metrics, models, trials, samples=samples_of(models))
