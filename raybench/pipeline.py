"""train -> sweep -> evaluate -> report. Each stage does what the store does not hold yet; that is resume."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from raybench.audit import Audit, better, objective, reference
from raybench.collect import collect_tables
from raybench.data.splits import ROLES
from raybench.errors import UserError
from raybench.experiment import Experiment
from raybench.manifest import manifest
from raybench.plan import (
    AuditedModel,
    TrainJob,
    TrialJob,
    audited_models,
    final_jobs,
    predict_jobs,
    search_folder,
    search_jobs,
    train_jobs,
)
from raybench.progress import Reporter
from raybench.report import write_report
from raybench.scenario import Scenario, prepare
from raybench.stages.cluster import Cluster
from raybench.store import Store
from raybench.work.predict import all_keys, num_passes
from raybench.work.score import ScoreJob, score_jobs
from raybench.work.train import import_checkpoint
from raybench.work.trial import Record

Until = Literal["train", "sweep", "evaluate", "report"]


@dataclass
class Trained:
    """What the training stage leaves: the jobs, and every model's record with its audit."""

    jobs: list[TrainJob]
    records: list[Record]

    @property
    def original(self) -> str:
        return self.jobs[0].key

    @property
    def seconds(self) -> float:
        """Return what one training took on the average, in seconds."""
        return sum(record["seconds"] for record in self.records) / len(self.records)

    @property
    def retrained(self) -> Audit:
        return reference([r["audit"] for job, r in zip(self.jobs, self.records) if job.kind == "retrained"])


@dataclass
class Swept:
    """What the sweep leaves: every search record, the chosen setting per method, the final runs."""

    search: dict[str, list[Record]]
    chosen: dict[str, Record]
    jobs: list[TrialJob]
    records: list[Record]


def run(
    experiment: Experiment,
    text: str,
    store: Store,
    reporter: Reporter,
    *,
    address: str | None = None,
    until: Until = "report",
    retry_failed: bool = False,
) -> None:
    """Run the experiment up to a stage, skipping whatever the store holds.

    Raises UserError for anything that the user can mend; nothing finished is lost by it.
    """
    store.probe()
    store.sweep_partial()
    with store.lock(f"{experiment.name}/lock"), Cluster(address, quiet=reporter.verbosity < 1) as cluster:
        scenario = prepare(experiment, store)
        reporter.say(headline(scenario))
        keys = {"data": scenario.data_key, "splits": scenario.splits_key}
        store.write_json(f"{experiment.name}/manifest.json", manifest(experiment, text, keys))
        store.write_bytes(f"{experiment.name}/experiment.yaml", text.encode())
        trained = train_stage(scenario, cluster, reporter)
        if until == "train":
            return
        swept = sweep_stage(scenario, trained, cluster, reporter, retry_failed=retry_failed)
        if until == "sweep":
            return
        audited = audited_models(trained.jobs, [j for j, r in zip(swept.jobs, swept.records) if r["audit"]])
        scored = evaluate_stage(scenario, audited, cluster, reporter)
        collect_tables(scenario, trained, swept, audited, scored)
        write_report(store, experiment.name, reporter)


def headline(scenario: Scenario) -> str:
    """Return one line that says what is about to happen."""
    experiment, sizes = scenario.experiment, scenario.splits().sizes()
    options = ", ".join(str(v) for k, v in experiment.forget.model_dump().items() if k not in ("rule", "seed"))
    rule = f"{experiment.forget.rule} {options}".strip()
    return (
        f"raybench  {experiment.name}   {experiment.data.dataset}, forget {sizes['forget']} of "
        f"{sizes['forget'] + sizes['retain']} ({rule})   {experiment.model.name}   1 original, "
        f"{len(experiment.train.seeds)} retrained   {len(experiment.methods)} methods\n"
    )


def train_stage(scenario: Scenario, cluster: Cluster, reporter: Reporter) -> Trained:
    """Train the models that are missing and audit them."""
    jobs, store = train_jobs(scenario), scenario.store
    import_checkpoint(scenario, jobs[0])
    missing = [job for job in jobs if not (store.exists(f"{job.key}.json") and store.exists(job.audit_key))]
    with reporter.stage("train", "models", total=len(jobs), done=len(jobs) - len(missing)) as stage:
        if missing:
            cluster.start()
            from raybench.stages.train import run_training

            run_training(scenario, missing, lambda _: stage.advance())
        records = [{**store.read_json(f"{job.key}.json"), "audit": store.read_json(job.audit_key)} for job in jobs]
    return Trained(jobs, records)


def sweep_stage(
    scenario: Scenario, trained: Trained, cluster: Cluster, reporter: Reporter, *, retry_failed: bool
) -> Swept:
    """Search each method's hyperparameters on validation data, then run the chosen ones on fresh seeds."""
    sweep, store = scenario.experiment.sweep, scenario.store
    retrained = trained.retrained
    planned = search_jobs(scenario, trained.original)
    adaptive = [m for m in planned if sweep.search == "optuna" and _is_searched(scenario, m)]
    kept = {method: _kept(scenario, trained.original, method) for method in adaptive}
    drawn = [job for method, jobs in planned.items() if method not in adaptive for job in jobs]
    if retry_failed:
        _forget_failures(store, drawn)
    missing = [job for job in drawn if not store.exists(f"{job.key}.json")]
    total = len(drawn) + sweep.trials * len(adaptive)
    done = len(drawn) - len(missing) + sum(len(records) for records in kept.values())
    names = f"trials, {len(planned)} methods"
    with reporter.stage("sweep", names, total=total, done=done) as stage:
        best: tuple[float, str] | None = None

        def hear(record: Record) -> None:
            nonlocal best
            if record["audit"] is not None:
                value = objective(sweep.objective, record["audit"], retrained)
                key = better(sweep.objective)
                if value == value and (best is None or key(value) < key(best[0])):
                    best = (value, record["method"])
            stage.advance(1, f"best {sweep.objective} {best[0]:.3g} ({best[1]})" if best else None)

        if missing:
            cluster.start()
            from raybench.stages.sweep import run_trials

            run_trials(scenario, missing, retrained, hear, training_seconds=trained.seconds)
        for method in adaptive:
            if len(kept[method]) < sweep.trials:
                cluster.start()
                from raybench.stages.sweep import run_optuna

                run_optuna(scenario, method, trained.original, kept[method], retrained, hear)
    search = {
        method: _kept(scenario, trained.original, method)
        if method in adaptive
        else [store.read_json(f"{job.key}.json") for job in jobs]
        for method, jobs in planned.items()
    }
    chosen = {method: found for method, records in search.items() if (found := choose(records, sweep.objective, retrained))}
    jobs = final_jobs(scenario, trained.original, {method: record["setting"] for method, record in chosen.items()})
    if retry_failed:
        _forget_failures(store, jobs)
    missing = [job for job in jobs if not store.exists(f"{job.key}.json")]
    unit = f"runs, {sweep.seeds} seeds"
    with reporter.stage("final", unit, total=len(jobs), done=len(jobs) - len(missing)) as stage:
        if missing:
            cluster.start()
            from raybench.stages.sweep import run_trials

            run_trials(scenario, missing, retrained, lambda _: stage.advance(), training_seconds=trained.seconds)
    return Swept(search, chosen, jobs, [store.read_json(f"{job.key}.json") for job in jobs])


def choose(records: Sequence[Record], name: str, retrained: Audit) -> Record | None:
    """Return the best trial on validation data: a finished one where there is one, else a stopped one that has numbers.

    The first drawn wins a tie. None where every trial failed.
    """
    key = better(name)
    for status in ("finished", "stopped"):
        values = [
            (key(value), number, record)
            for number, record in enumerate(records)
            if record["status"] == status and record["audit"] and (value := objective(name, record["audit"], retrained)) == value
        ]
        if values:
            return min(values, key=lambda item: item[:2])[2]
    return None


def _is_searched(scenario: Scenario, method: str) -> bool:
    return any(space.kind != "fixed" for space in scenario.experiment.spaces(method).values())


def _kept(scenario: Scenario, original: str, method: str) -> list[Record]:
    """Return the records of an adaptive search so far, in a fixed order."""
    folder = search_folder(scenario, original, method)
    return [scenario.store.read_json(key) for key in scenario.store.keys(folder, suffix=".json")]


def _forget_failures(store: Store, jobs: Sequence[TrialJob]) -> None:
    for job in jobs:
        key = f"{job.key}.json"
        if store.exists(key) and store.read_json(key)["status"] == "failed":
            store.delete(key)


def evaluate_stage(
    scenario: Scenario, audited: Sequence[AuditedModel], cluster: Cluster, reporter: Reporter
) -> list[ScoreJob]:
    """Predict each model once per split, then score every model from the stored predictions."""
    store = scenario.store
    jobs = predict_jobs(scenario, audited)
    passes = len(all_keys(scenario, audited, ROLES))
    with reporter.stage("predict", f"passes, {len(audited)} models", total=passes, done=passes - num_passes(jobs)) as stage:
        if jobs:
            cluster.start()
            from raybench.stages.evaluate import run_predictions

            run_predictions(scenario, jobs, lambda count: stage.advance(count))
    scoring = score_jobs(scenario, audited)
    missing = [job for job in scoring if not store.exists(job.key)]
    with reporter.stage("evaluate", "models", total=len(scoring), done=len(scoring) - len(missing)) as stage:
        if missing:
            cluster.start()
            from raybench.stages.evaluate import run_scoring

            run_scoring(scenario, missing, lambda count: stage.advance(count))
    return scoring


def require_tables(store: Store, name: str) -> None:
    """Refuse to report on a run that has no tables yet."""
    if not store.exists(f"{name}/tables/metrics.parquet"):
        raise UserError(f"run {name!r} on {store.uri} has no tables yet: run `raybench run` on its experiment first")
