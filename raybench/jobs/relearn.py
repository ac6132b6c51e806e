"""Relearning probe: how long a model takes to relearn the forget set. The only part of the evaluation that trains."""

from collections.abc import Sequence
from dataclasses import asdict

from raybench import activity
from raybench.config.schema import Relearning as Settings
from raybench.engine.devices import set_num_threads
from raybench.engine.relearning import relearn
from raybench.jobs.records import RelearningRecord
from raybench.jobs.specs import RelearnJob
from raybench.jobs.stored import StoredPredictions
from raybench.metrics.accuracy import accuracy
from raybench.scenario.scenario import Scenario
from raybench.scoring.metric_rows import Row


class Relearner:
    """A worker that probes: it keeps the original's predictions, which set the accuracy to reach."""

    def __init__(self, scenario: Scenario) -> None:
        set_num_threads(scenario.experiment.resources.threads)
        self._scenario = scenario
        self._read = StoredPredictions(scenario).read

    def __call__(self, job: RelearnJob) -> None:
        """Write the model's record if it is missing; the trained copy is discarded."""
        scenario, experiment = self._scenario, self._scenario.experiment
        settings = experiment.evaluate.relearning
        if scenario.store.exists(job.key):
            return
        assert settings is not None
        original = self._read(job.original, "forget")
        target = accuracy(original.logits, original.labels).value - settings.tolerance
        with activity.working_on(job.title):
            result = relearn(
                scenario.load(job.model.key),
                scenario.split("forget"),
                target_accuracy=target,
                lr=settings.lr,
                batch_size=settings.batch_size,
                max_epochs=settings.max_epochs,
                seed=settings.seed,
                precision=experiment.resources.precision,
                audit_batch_size=experiment.evaluate.batch_size,
            )
        scenario.store.write_json(job.key, {"model": job.model.id, "target_accuracy": target, **asdict(result)})


def read_rows(scenario: Scenario, jobs: Sequence[RelearnJob]) -> list[Row]:
    """Return two rows per model, `relearning_epochs` and `relearning_samples`, with a reason if it was not reached.

    A retrained model that does not reach the accuracy has no value, so gaps are to the others: raise `max_epochs` then.
    """
    settings = scenario.experiment.evaluate.relearning
    if settings is None:
        return []
    return [row for job in jobs for row in _rows(scenario, job, settings)]


def _rows(scenario: Scenario, job: RelearnJob, settings: Settings) -> list[Row]:
    record: RelearningRecord = scenario.store.read_json(job.key)
    reason = None
    if not record["reached"]:
        reason = (
            f"not relearned within {record['epochs']} epochs: forget accuracy {record['curve'][-1]:.3f}, to reach "
            f"{record['target_accuracy']:.3f}"
        )
    return [
        {
            **job.model.identity,
            "split": "forget",
            "metric": f"relearning_{unit}",
            "setting": ",".join(f"{key}={value}" for key, value in sorted(settings.model_dump().items())),
            "reference": "original",
            "protocol": "corrected",
            "direction": "match",
            "value": float(number) if record["reached"] else None,
            "low": None,
            "high": None,
            "n": len(scenario.splits().ids("forget")),
            "interval": "none: one probe",
            "reason": reason,
        }
        for unit, number in (("epochs", record["epochs"]), ("samples", record["samples"]))
    ]
