"""Collect a run's six tables from its artifacts: what a person opens in pandas or DuckDB."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raybench.engine.audit import objective
from raybench.jobs.plan import AuditedModel, TrialJob
from raybench.jobs.population import PopulationJob
from raybench.jobs.population import read_rows as read_populations
from raybench.jobs.predict import all_keys
from raybench.jobs.relearn import RelearnJob
from raybench.jobs.relearn import read_rows as read_relearning
from raybench.jobs.score import ScoreJob, read_rows
from raybench.jobs.trial import Record
from raybench.scenario.scenario import Scenario
from raybench.scoring.average_gap import average_gap_rows, ideal_gap_rows
from raybench.scoring.metric_rows import with_gaps
from raybench.storage import tables

if TYPE_CHECKING:
    from raybench.pipeline.stages import Swept, Trained


def collect_tables(
    scenario: Scenario,
    trained: "Trained",
    swept: "Swept",
    audited: Sequence[AuditedModel],
    scored: Sequence[ScoreJob],
    populations: Sequence[PopulationJob] = (),
    relearned: Sequence[RelearnJob] = (),
) -> None:
    """Write `<run>/tables/`; `metrics` last, so that its existence means that the others are there."""
    store, folder = scenario.store, f"{scenario.experiment.name}/tables"
    store.write_table(f"{folder}/splits.parquet", _splits(scenario))
    store.write_table(f"{folder}/models.parquet", tables.with_hyperparameters(_models(scenario, trained, swept)))
    store.write_table(f"{folder}/trials.parquet", tables.with_hyperparameters(_trials(scenario, trained, swept)))
    current = {}
    for key in all_keys(scenario, [model.key for model in audited], scenario.roles):
        model, file = key.split("/")[-2:]
        current[f"{folder}/predictions/{model}-{file}"] = key
    for stale in set(store.keys(f"{folder}/predictions")) - set(current):  # of an earlier version of this run
        store.delete(stale)
    for target, key in current.items():
        if not store.exists(target):
            store.share(key, target)
    keys = [*(job.samples_key for job in scored), *(job.samples_key for job in populations)]
    samples = [store.read_table(key) for key in keys]
    store.write_table(f"{folder}/samples.parquet", tables.cast("samples", pa.concat_tables(samples)))
    rows = with_gaps([*read_rows(scenario, scored), *read_relearning(scenario, relearned)])
    rows += [*average_gap_rows(rows), *ideal_gap_rows(rows)]
    rows += read_populations(scenario, populations)
    store.write_table(f"{folder}/metrics.parquet", tables.table("metrics", rows))


def _splits(scenario: Scenario) -> pa.Table:
    content = scenario.splits().to_table(scenario.data())
    if pa.types.is_list(content.schema.field("label").type):
        content = content.rename_columns(["labels" if name == "label" else name for name in content.column_names])
    return tables.cast("splits", content)


def _models(scenario: Scenario, trained: "Trained", swept: "Swept") -> pa.Table:
    # what one retraining takes, whether or not one was done: the recipe's passes over the retain set
    passes = scenario.experiment.train.retrained_recipe.epochs * len(scenario.splits().ids("retain"))
    full = _work({"samples_forward": passes, "samples_backward": passes})
    rows: list[dict[str, Any]] = []
    for job, record in zip(trained.jobs, trained.records):
        row = {"model": _mark(job.key), "name": job.name, "kind": job.kind, "method": job.kind, "seed": job.seed}
        recipe = json.dumps(record["recipe"]) if record["recipe"] else None
        rows.append({**row, **_cost(record, full), **record["audit"], "recipe": recipe, "status": "finished"})
    for trial, record in zip(swept.jobs, swept.records):
        rows.append({**_trial(trial, record), **_cost(record["ledger"], full), **(record["audit"] or {})})
    return tables.table("models", rows)


def _trial(job: TrialJob, record: Record) -> dict[str, Any]:
    return {
        "model": _mark(job.key),
        "name": job.name,
        "kind": "unlearned",
        "method": job.method,
        "function": job.function,
        "seed": job.seed,
        "hyperparameters": json.dumps(record["hyperparameters"], sort_keys=True),
        "status": record["status"],
        "reason": record["reason"],
    }


def _work(ledger: Mapping[str, Any]) -> float:
    """Return work in forward passes; a backward pass is counted as two (it computes two products per layer)."""
    return float(ledger.get("samples_forward", 0) + 2 * ledger.get("samples_backward", 0))


def _cost(ledger: Mapping[str, Any], full: float) -> dict[str, Any]:
    names = ("samples_forward", "samples_backward", "steps", "seconds", "peak_memory_bytes")
    known = full and "samples_forward" in ledger  # a run that failed has no books, which is not a cost of nothing
    return {**{name: ledger.get(name) for name in names}, "relative_cost": _work(ledger) / full if known else None}


def _trials(scenario: Scenario, trained: "Trained", swept: "Swept") -> pa.Table:
    sweep, retrained = scenario.experiment.sweep, trained.retrained
    chosen = {record["key"] for record in swept.chosen.values()}
    rows: list[dict[str, Any]] = []
    for record in [*(r for records in swept.search.values() for r in records), *swept.records]:
        common = {
            "trial": _mark(record["key"]),
            "method": record["method"],
            "phase": record["phase"],
            "seed": record["seed"],
            "hyperparameters": json.dumps(record["hyperparameters"], sort_keys=True),
            "status": record["status"],
            "reason": record["reason"],
            "traceback": record.get("traceback"),
            "chosen": record["key"] in chosen or record["phase"] == "final",
            "budget_trials": sweep.trials,
        }
        epochs = record["epochs"] or [{}]  # a failed trial without an epoch is still a row
        for number, row in enumerate(epochs):
            value = objective(sweep.objective, row, retrained) if row else None
            rows.append({**common, **row, "objective": value, "last": number == len(epochs) - 1})
    return tables.table("trials", rows)


def _mark(key: str) -> str:
    return key.rsplit("/", 1)[-1]
