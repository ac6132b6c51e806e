"""The stages of a run. Each is described once, as a `Stage`: `run` executes it, `check` counts its jobs.

A stage does what the store does not hold; there is no other resume. Ray is imported by the functions that run missing
jobs, so a run that finds everything in the store starts no cluster.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from raybench.distributed.cluster import Cluster
from raybench.engine.audit import Audit, better, objective
from raybench.jobs import plan
from raybench.jobs.prediction_plan import predict_jobs
from raybench.jobs.records import TrialRecord
from raybench.jobs.specs import (
    EvaluatedModel,
    Job,
    PopulationJob,
    PredictJob,
    RelearnJob,
    ScoreJob,
    SearchJob,
    StreamJob,
    TrainJob,
    TrialJob,
)
from raybench.pipeline.results import Swept, Trained, search_records
from raybench.progress import Reporter
from raybench.progress import Stage as Bar
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store

J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Stage(Generic[J]):
    """A stage: its name, what it counts, its jobs, and how missing jobs are run (on a started cluster)."""

    name: str
    unit: str
    jobs: Sequence[J]
    store: Store
    run: Callable[[list[J], Bar], None]

    @property
    def total(self) -> int:
        return sum(job.units for job in self.jobs)

    def finished(self) -> int:
        """Return how many units the store holds."""
        return sum(job.finished(self.store) for job in self.jobs)


def execute(stage: Stage[J], cluster: Cluster, reporter: Reporter) -> None:
    """Run the jobs of a stage that the store does not hold, and report progress; a stage without jobs is skipped."""
    if not stage.jobs:
        return
    finished = [job.finished(stage.store) for job in stage.jobs]
    missing = [job for job, units in zip(stage.jobs, finished) if units < job.units]
    with reporter.stage(stage.name, stage.unit, total=stage.total, done=sum(finished)) as bar:
        if missing:
            cluster.start()
            bar.source = cluster.activities()
            stage.run(missing, bar)


def train_stage(scenario: Scenario, trained: Trained) -> Stage[TrainJob]:
    """Train and audit the originals and the retrained models, and the references of a search."""
    return Stage("train", "models", [*trained.jobs, *trained.reference_jobs], scenario.store, _train(scenario))


def search_stage(scenario: Scenario, trained: Trained, swept: Swept) -> Stage[TrialJob | SearchJob]:
    """Search the hyperparameters of the methods that have search spaces, on the tuning request."""
    jobs = [job for jobs in swept.planned.values() for job in jobs]

    def run(missing: list[TrialJob | SearchJob], bar: Bar) -> None:
        from raybench.distributed.sweep import run_optuna, run_trials

        target = trained.tuning_target(trained.original)
        on_record = _BestSoFar(scenario.experiment.sweep.objective, target, bar)
        on_record.count(_stored_records(scenario, jobs, missing))
        trials = [job for job in missing if isinstance(job, TrialJob)]
        if trials:
            run_trials(scenario, trials, target, on_record, training_seconds=trained.seconds)
        for job in missing:
            if isinstance(job, SearchJob):
                run_optuna(scenario, job, search_records(scenario, job), target, on_record)

    return Stage("sweep", f"trials, {len(swept.planned)} methods", jobs, scenario.store, run)


def finalists_stage(scenario: Scenario, trained: Trained, swept: Swept) -> Stage[TrialJob]:
    """Run the best settings of each search again, on other originals or seeds; the search must be complete."""
    jobs = [job for jobs in swept.finalist_jobs.values() for job in jobs]

    def run(missing: list[TrialJob], bar: Bar) -> None:
        from raybench.distributed.sweep import run_final

        for original in dict.fromkeys(job.original for job in missing):
            started = [job for job in missing if job.original == original]
            run_final(scenario, started, trained.tuning_target(original), lambda _: bar.advance())

    return Stage("finalists", "runs of the best settings", jobs, scenario.store, run)


class _BestSoFar:
    """Called with each finished trial: advances the progress bar and shows the best objective so far."""

    def __init__(self, name: str, target: Audit, bar: Bar) -> None:
        self._name, self._target, self._bar = name, target, bar
        self._best: tuple[float, str] | None = None

    def __call__(self, record: TrialRecord) -> None:
        self.count([record])
        self._bar.advance()

    def count(self, records: Sequence[TrialRecord]) -> None:
        """Update the best with records, which may be those of an earlier run."""
        key = better(self._name)
        for record in records:
            if record["audit"] is not None:
                value = objective(self._name, record["audit"], self._target)
                if value == value and (self._best is None or key(value) < key(self._best[0])):
                    self._best = value, record["method"]
        if self._best is not None:
            self._bar.note = f"best {self._name} {self._best[0]:.3g} ({self._best[1]})"


def _stored_records(
    scenario: Scenario, jobs: Sequence[TrialJob | SearchJob], missing: Sequence[TrialJob | SearchJob]
) -> list[TrialRecord]:
    """Return the records of the search that the store holds."""
    absent = {job.outputs for job in missing}
    keys = [f"{job.key}.json" for job in jobs if isinstance(job, TrialJob) and job.outputs not in absent]
    adaptive = [record for job in jobs if isinstance(job, SearchJob) for record in search_records(scenario, job)]
    with ThreadPoolExecutor(max_workers=16) as threads:  # object storage answers slowly, and many at once
        return [*threads.map(scenario.store.read_json, keys), *adaptive]


def final_stage(scenario: Scenario, trained: Trained, swept: Swept) -> Stage[TrialJob]:
    """Run the chosen settings on new seeds."""
    num_originals = len(trained.originals)
    starts = f" from {num_originals} originals" if num_originals > 1 else ""
    experiment = scenario.experiment
    run = not all(map(experiment.checkpoints, experiment.methods))
    unit = f"runs, {experiment.sweep.seeds} seeds{starts}" if run else "models of yours"
    return Stage("final", unit, swept.jobs, scenario.store, _final(scenario, trained))


def originals_stage(scenario: Scenario) -> Stage[TrainJob]:
    """Train the further originals of a population, if the experiment sets `origins: one_per_run`."""
    jobs = plan.population_originals(scenario)[scenario.experiment.sweep.originals :]
    return Stage("originals", "models", jobs, scenario.store, _train(scenario))


def population_stage(scenario: Scenario, trained: Trained, runs: Sequence[TrialJob]) -> Stage[TrialJob]:
    """Run the chosen settings often enough to compare them with the retrained models as distributions."""
    return Stage("population", "runs", runs, scenario.store, _final(scenario, trained))


def predict_stage(
    scenario: Scenario, evaluated: Sequence[EvaluatedModel], populations: Sequence[PopulationJob]
) -> Stage[PredictJob | StreamJob]:
    """Predict each model once per split."""
    members = [key for job in populations for key in job.unlearned]
    jobs = predict_jobs(scenario, evaluated, members)
    num_models = len({key.rsplit("/", 1)[0] for job in jobs for key in job.outputs})

    def run(missing: list[PredictJob | StreamJob], bar: Bar) -> None:
        from raybench.distributed.evaluate import run_predictions

        run_predictions(scenario, missing, bar.advance)

    return Stage("predict", f"passes, {num_models} models", jobs, scenario.store, run)


def score_stage(scenario: Scenario, evaluated: Sequence[EvaluatedModel]) -> Stage[ScoreJob]:
    """Compute the metrics of each model from the stored predictions."""

    def run(missing: list[ScoreJob], bar: Bar) -> None:
        from raybench.distributed.evaluate import run_scoring

        run_scoring(scenario, missing, bar.advance)

    return Stage("evaluate", "models", plan.score_jobs(scenario, evaluated), scenario.store, run)


def compare_stage(scenario: Scenario, populations: Sequence[PopulationJob]) -> Stage[PopulationJob]:
    """Compare populations with the retrained models."""

    def run(missing: list[PopulationJob], bar: Bar) -> None:
        from raybench.distributed.evaluate import run_populations

        run_populations(scenario, missing, bar.advance)

    return Stage("compare", "populations", populations, scenario.store, run)


def relearn_stage(scenario: Scenario, evaluated: Sequence[EvaluatedModel]) -> Stage[RelearnJob]:
    """Let each model relearn the forget set, if the experiment sets `evaluate.relearning`; needs the predictions."""

    def run(missing: list[RelearnJob], bar: Bar) -> None:
        from raybench.distributed.evaluate import run_relearning

        run_relearning(scenario, missing, bar.advance)

    return Stage("relearn", "models", plan.relearn_jobs(scenario, evaluated), scenario.store, run)


def forget_failures(store: Store, jobs: Sequence[Job]) -> None:
    """Delete the records of failed trials, so that they run again."""
    for job in jobs:
        for key in job.outputs:
            if store.exists(key) and store.read_json(key)["status"] == "failed":
                store.delete(key)


def _train(scenario: Scenario) -> Callable[[list[TrainJob], Bar], None]:
    def run(missing: list[TrainJob], bar: Bar) -> None:
        from raybench.distributed.train import run_training

        run_training(scenario, missing, lambda _: bar.advance())

    return run


def _final(scenario: Scenario, trained: Trained) -> Callable[[list[TrialJob], Bar], None]:
    def run(missing: list[TrialJob], bar: Bar) -> None:
        from raybench.distributed.sweep import run_final

        run_final(scenario, missing, trained.retrained, lambda _: bar.advance())

    return run
