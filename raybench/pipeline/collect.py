"""Collect a run's nine tables from its artifacts, to be opened in pandas, polars or DuckDB."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raybench.data import forget_rules
from raybench.engine.audit import objective
from raybench.jobs.keys import all_predictions
from raybench.jobs.records import TrialRecord
from raybench.jobs.relearn import read_rows as read_relearning
from raybench.jobs.score import read_rows
from raybench.jobs.specs import EvaluatedModel, PopulationJob, RelearnJob, ScoreJob, TrialJob, model_id
from raybench.pipeline.results import Swept, Trained
from raybench.pipeline.search_curve import search_rows
from raybench.scenario.scenario import Scenario
from raybench.scoring.average_gap import average_gap_rows, ideal_gap_rows
from raybench.scoring.memory import Audits
from raybench.scoring.metric_rows import with_gaps
from raybench.storage import tables
from raybench.storage.runs import mark_newest


def collect_tables(
    scenario: Scenario,
    trained: Trained,
    swept: Swept,
    evaluated: Sequence[EvaluatedModel],
    scored: Sequence[ScoreJob],
    populations: Sequence[PopulationJob] = (),
    relearned: Sequence[RelearnJob] = (),
) -> None:
    """Write `<run>/tables/`; `metrics` last, so that its existence means that the tables are complete.

    From then on, the run is the newest of its name.
    """
    store, folder = scenario.store, f"{scenario.folder}/tables"
    store.write_table(f"{folder}/splits.parquet", _splits(scenario))
    store.write_table(f"{folder}/models.parquet", tables.with_hyperparameters(_models(scenario, trained, swept)))
    store.write_table(f"{folder}/trials.parquet", tables.with_hyperparameters(_trials(scenario, trained, swept)))
    if searched := search_rows(trained, swept):
        store.write_table(f"{folder}/search.parquet", tables.table("search", searched))
    else:
        store.delete(f"{folder}/search.parquet")  # an earlier version of this run may have written it
    current = {}
    for key in all_predictions(scenario, [model.key for model in evaluated], scenario.roles):
        kind, model, file = key.split("/")[-3:]  # predictions, or signals of a large split
        current[f"{folder}/{kind}/{model}-{file}"] = key
    written = {*store.keys(f"{folder}/predictions"), *store.keys(f"{folder}/signals")}
    for stale in written - set(current):  # from an earlier version of this run
        store.delete(stale)
    for target, key in current.items():
        store.share(key, target)
    samples = [*(_samples(scenario, job) for job in scored), *(_samples(scenario, job) for job in populations)]
    store.write_table(f"{folder}/samples.parquet", tables.cast("samples", pa.concat_tables(samples)))
    audits = _audits(scenario, evaluated, samples[: len(scored)])
    store.write_table(f"{folder}/memory.parquet", tables.table("memory", audits.memory_rows()))
    store.write_table(f"{folder}/exposure.parquet", tables.table("exposure", audits.exposure_rows()))
    rows = with_gaps([*read_rows(scenario, scored), *read_relearning(scenario, relearned)])
    rows += [*average_gap_rows(rows), *ideal_gap_rows(rows)]
    rows += [*audits.metric_rows(), *read_rows(scenario, populations)]
    store.write_table(f"{folder}/metrics.parquet", tables.table("metrics", rows))
    mark_newest(store, scenario.folder)


def _audits(scenario: Scenario, evaluated: Sequence[EvaluatedModel], samples: Sequence[pa.Table]) -> Audits:
    """Return the audits of residual memory; identities are one unit each where they are forgotten as a whole."""
    groups = scenario.data().groups
    losses = pa.concat_tables(part.select(["model", "split", "id", "loss"]) for part in samples)
    forget = losses.filter(pc.equal(losses["split"], "forget")).to_pandas()
    whole = groups is not None and forget_rules.spec(scenario.experiment.forget.rule).whole_groups
    ids = scenario.splits().ids("forget")
    units = dict(zip(ids.tolist(), groups[ids].tolist())) if whole and groups is not None else None
    return Audits([model.identity for model in evaluated], forget, units)


def _samples(scenario: Scenario, job: ScoreJob | PopulationJob) -> pa.Table:
    """Return a model's sample rows with its original's number, which is no part of what other experiments share."""
    content = tables.cast("samples", scenario.store.read_table(job.samples_key))
    number = content.schema.get_field_index("original")
    column = pa.array([job.model.original] * len(content), pa.int64())
    return content.set_column(number, content.schema.field(number), column)


def _splits(scenario: Scenario) -> pa.Table:
    content = scenario.splits().to_table(scenario.data())
    if pa.types.is_list(content.schema.field("label").type):
        content = content.rename_columns(["labels" if name == "label" else name for name in content.column_names])
    return tables.cast("splits", content)


def _models(scenario: Scenario, trained: Trained, swept: Swept) -> pa.Table:
    # the cost of one retraining, whether or not one was done: the recipe's passes over the retain set
    passes = scenario.experiment.train.retrained_recipe.epochs * len(scenario.splits().ids("retain"))
    full = _work({"samples_forward": passes, "samples_backward": passes})
    rows: list[dict[str, Any]] = []
    for job, record in zip(trained.jobs, trained.records):
        recipe = json.dumps(record["recipe"]) if record["recipe"] else None
        row = {**job.model.identity, "recipe": recipe, "status": "finished"}
        rows.append({**row, **_cost(record, full), **record["audit"]})
    for trial, final in zip(swept.jobs, swept.records):
        rows.append({**_trial(trial, final), **_cost(final["ledger"], full), **(final["audit"] or {})})
    return tables.table("models", rows)


def _trial(job: TrialJob, record: TrialRecord) -> dict[str, Any]:
    return {
        **job.model.identity,
        "function": job.function or None,
        "hyperparameters": json.dumps(record["hyperparameters"], sort_keys=True),
        "status": record["status"],
        "reason": record["reason"],
    }


def _work(ledger: Mapping[str, Any]) -> float:
    """Return work in forward passes; a backward pass is counted as two (it computes two products per layer)."""
    return float(ledger.get("samples_forward", 0) + 2 * ledger.get("samples_backward", 0))


def _cost(ledger: Mapping[str, Any], full: float) -> dict[str, Any]:
    names = ("samples_forward", "samples_backward", "steps", "seconds", "peak_memory_bytes")
    # the cost of a failed run, and of what the user did, is unknown, not 0
    known = full and ledger.get("samples_forward") is not None
    return {**{name: ledger.get(name) for name in names}, "relative_cost": _work(ledger) / full if known else None}


def _trials(scenario: Scenario, trained: Trained, swept: Swept) -> pa.Table:
    sweep, numbers = scenario.experiment.sweep, {key: number for number, key in enumerate(trained.originals)}
    tuning = [record for records in (*swept.search.values(), *swept.finalists.values()) for record in records]
    rows: list[dict[str, Any]] = []
    for record in [*tuning, *swept.records]:
        target = trained.retrained if record["phase"] == "final" else trained.tuning_target(record["original"])
        chosen = swept.chosen.get(record["method"])
        common = {
            "trial": model_id(record["key"]),
            "method": record["method"],
            "phase": record["phase"],
            "seed": record["seed"],
            "original": numbers[record["original"]],
            "hyperparameters": json.dumps(record["hyperparameters"], sort_keys=True),
            "status": record["status"],
            "reason": record["reason"],
            "traceback": record.get("traceback"),
            "chosen": record["phase"] == "final" or (chosen is not None and record["setting"] == chosen["setting"]),
            "budget_trials": sweep.trials,
        }
        # a failed trial without an epoch is still a row, and so is a model that the user has unlearned
        epochs = record["epochs"] or [{**(record["audit"] or {})}]
        for number, row in enumerate(epochs):
            value = objective(sweep.objective, row, target) if row else None
            rows.append({**common, **row, "objective": value, "last": number == len(epochs) - 1})
    return tables.table("trials", rows)
