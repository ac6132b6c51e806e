"""The stages of a run: each does what the store does not hold yet, and says how far it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from raybench.distributed.cluster import Cluster
from raybench.engine.audit import Audit, better, objective, reference
from raybench.jobs.plan import (
    POPULATION_ROLES,
    AuditedModel,
    TrainJob,
    TrialJob,
    final_jobs,
    origin_jobs,
    population_jobs,
    predict_jobs,
    search_folder,
    search_jobs,
    train_jobs,
    untrained_model,
)
from raybench.jobs.population import PopulationJob
from raybench.jobs.predict import all_keys, num_passes
from raybench.jobs.relearn import RelearnJob, relearn_jobs
from raybench.jobs.score import ScoreJob, score_jobs
from raybench.jobs.train import import_checkpoint
from raybench.jobs.trial import Record
from raybench.progress import Reporter
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store


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
        """Return what one training took on the average, in seconds; infinite where the store was given every model."""
        own = [record["seconds"] for record in self.records if record["epochs"]]
        return sum(own) / len(own) if own else math.inf

    @property
    def retrained(self) -> Audit:
        """Return what a sweep aims at: the retrained models' mean audit, and beside it the original's utility."""
        audits = [r["audit"] for job, r in zip(self.jobs, self.records) if job.kind == "retrained"]
        return reference(audits, self.records[0]["audit"])


@dataclass
class Swept:
    """What the sweep leaves: every search record, the chosen setting per method, the final runs."""

    search: dict[str, list[Record]]
    chosen: dict[str, Record]
    jobs: list[TrialJob]
    records: list[Record]


def train_stage(scenario: Scenario, cluster: Cluster, reporter: Reporter) -> Trained:
    """Train the models that are missing and audit them."""
    jobs, store = train_jobs(scenario), scenario.store
    import_checkpoint(scenario, jobs[0])
    missing = [job for job in jobs if not (store.exists(f"{job.key}.json") and store.exists(job.audit_key))]
    with reporter.stage("train", "models", total=len(jobs), done=len(jobs) - len(missing)) as stage:
        if missing:
            cluster.start()
            from raybench.distributed.train import run_training

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
            from raybench.distributed.sweep import run_trials

            run_trials(scenario, missing, retrained, hear, training_seconds=trained.seconds)
        for method in adaptive:
            if len(kept[method]) < sweep.trials:
                cluster.start()
                from raybench.distributed.sweep import run_optuna

                run_optuna(scenario, method, trained.original, kept[method], retrained, hear)
    search = {
        method: _kept(scenario, trained.original, method)
        if method in adaptive
        else [store.read_json(f"{job.key}.json") for job in jobs]
        for method, jobs in planned.items()
    }
    chosen = {
        method: found for method, records in search.items() if (found := choose(records, sweep.objective, retrained))
    }
    jobs = final_jobs(scenario, trained.original, {method: record["setting"] for method, record in chosen.items()})
    if retry_failed:
        _forget_failures(store, jobs)
    missing = [job for job in jobs if not store.exists(f"{job.key}.json")]
    unit = f"runs, {sweep.seeds} seeds"
    with reporter.stage("final", unit, total=len(jobs), done=len(jobs) - len(missing)) as stage:
        if missing:
            cluster.start()
            from raybench.distributed.sweep import run_final

            run_final(scenario, missing, retrained, lambda _: stage.advance())
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
            if record["status"] == status
            and record["audit"]
            and (value := objective(name, record["audit"], retrained)) == value
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


def population_stage(
    scenario: Scenario, trained: Trained, swept: Swept, cluster: Cluster, reporter: Reporter
) -> dict[str, list[TrialJob]]:
    """Run the chosen settings often enough to compare them with the retrained models as a distribution."""
    store, origins = scenario.store, origin_jobs(scenario)
    missing = [job for job in origins if not (store.exists(f"{job.key}.json") and store.exists(job.audit_key))]
    if origins:
        with reporter.stage("origins", "models", total=len(origins), done=len(origins) - len(missing)) as stage:
            if missing:
                cluster.start()
                from raybench.distributed.train import run_training

                run_training(scenario, missing, lambda _: stage.advance())
    chosen = {method: record["setting"] for method, record in swept.chosen.items()}
    jobs = population_jobs(scenario, [job.key for job in origins] or [trained.original], chosen)
    runs = [job for own in jobs.values() for job in own]
    left = [job for job in runs if not store.exists(f"{job.key}.json")]
    if runs:
        with reporter.stage("population", "runs", total=len(runs), done=len(runs) - len(left)) as stage:
            if left:
                cluster.start()
                from raybench.distributed.sweep import run_final

                done = stage.advance
                run_final(scenario, left, trained.retrained, lambda _: done())
    return jobs


def evaluate_stage(
    scenario: Scenario,
    audited: Sequence[AuditedModel],
    populations: Sequence[PopulationJob],
    cluster: Cluster,
    reporter: Reporter,
) -> list[ScoreJob]:
    """Predict each model once per split, then score models and populations from the stored predictions."""
    store = scenario.store
    members = [key for job in populations for key in job.unlearned]
    compared = [*(model.key for model in audited), *filter(None, [untrained_model(scenario)])]
    jobs = predict_jobs(scenario, audited, members)
    asked = [
        *all_keys(scenario, compared, scenario.roles),
        *all_keys(scenario, members, POPULATION_ROLES),
    ]
    passes = len(set(asked))
    models = len({*members, *compared})
    with reporter.stage("predict", f"passes, {models} models", total=passes, done=passes - num_passes(jobs)) as stage:
        if jobs:
            cluster.start()
            from raybench.distributed.evaluate import run_predictions

            run_predictions(scenario, jobs, lambda count: stage.advance(count))
    scoring = score_jobs(scenario, audited)
    missing = [job for job in scoring if not store.exists(job.key)]
    with reporter.stage("evaluate", "models", total=len(scoring), done=len(scoring) - len(missing)) as stage:
        if missing:
            cluster.start()
            from raybench.distributed.evaluate import run_scoring

            run_scoring(scenario, missing, lambda count: stage.advance(count))
    unscored = [job for job in populations if not store.exists(job.key)]
    if populations:
        done = len(populations) - len(unscored)
        with reporter.stage("compare", "populations", total=len(populations), done=done) as stage:
            if unscored:
                cluster.start()
                from raybench.distributed.evaluate import run_populations

                run_populations(scenario, unscored, lambda count: stage.advance(count))
    return scoring


def relearn_stage(
    scenario: Scenario, audited: Sequence[AuditedModel], cluster: Cluster, reporter: Reporter
) -> list[RelearnJob]:
    """Let each model relearn the forget set, where the experiment asks for it; predictions must be there."""
    jobs, store = relearn_jobs(scenario, audited), scenario.store
    missing = [job for job in jobs if not store.exists(job.key)]
    if jobs:
        with reporter.stage("relearn", "models", total=len(jobs), done=len(jobs) - len(missing)) as stage:
            if missing:
                cluster.start()
                from raybench.distributed.evaluate import run_relearning

                run_relearning(scenario, missing, lambda count: stage.advance(count))
    return jobs
