"""An audit of the models of a run gives the numbers of the run."""

import numpy as np
import pandas as pd
import pytest

import raybench

ROLES = ("forget", "retain", "test", "unseen", "calibration", "validation")
METRICS = ["accuracy", "mia", "cr", "knn", "cka_to_retrained", "weight_distance_to_original"]


def test_an_audit_gives_the_metrics_of_the_pipeline(trained, evaluated, tables_folder):
    scenario = trained.scenario
    models = {model.name: (model, scenario.load(model.key)) for model in evaluated.audited}
    sets = {}
    for role in ROLES:
        split = scenario.role_samples(role, scenario.role_ids(role))
        sets[role] = split.batch(np.arange(len(split)), generator=None)
    of_kind = {
        kind: [module for model, module in models.values() if model.kind == kind] for kind in ("original", "retrained")
    }
    unlearned = {model.method: module for model, module in models.values() if model.kind == "unlearned"}
    audit = raybench.audit(
        of_kind["original"][0],
        unlearned,
        retrained=of_kind["retrained"],
        metrics=METRICS,
        alphas=scenario.experiment.evaluate.alphas,
        batch_size=scenario.experiment.evaluate.batch_size,
        **sets,
    )
    cell = ["kind", "method", "metric", "split", "setting"]
    stored = pd.read_parquet(tables_folder / "metrics.parquet")
    columns = ["value", "low", "high", "gap", "gap_low", "gap_high"]

    def sorted_rows(frame):
        named = frame[frame.metric.isin(set(audit.metrics.metric) & set(stored.metric)) & frame.value.notna()]
        return named.fillna({"split": ""}).sort_values([*cell, "value"]).reset_index(drop=True)

    ours, theirs = sorted_rows(audit.metrics), sorted_rows(stored)
    assert len(ours) > 100
    assert ours[cell].equals(theirs[cell])
    for column in columns:
        assert ours[column].to_numpy() == pytest.approx(theirs[column].to_numpy(), abs=1e-6, nan_ok=True), column
