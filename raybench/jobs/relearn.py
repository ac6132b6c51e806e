"""Probe one model: how long it takes to relearn the forget set. The only part of the evaluation that trains."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from raybench.config.schema import Relearning as Settings
from raybench.engine.relearning import relearn
from raybench.fingerprints import code_fingerprint
from raybench.jobs.plan import AuditedModel, predictions_keys
from raybench.jobs.predict import StoredPredictions
from raybench.metrics.accuracy import accuracy
from raybench.scenario.scenario import NUMERICS, Scenario
from raybench.scoring.metric_rows import Row
from raybench.storage.store import fingerprint


@dataclass(frozen=True)
class RelearnJob:
    """Let one model relearn the forget set up to the original's accuracy there."""

    model: AuditedModel
    original: str
    key: str


def relearn_jobs(scenario: Scenario, audited: Sequence[AuditedModel]) -> list[RelearnJob]:
    """Return one job per model where the experiment asks for the probe, the original's among them: it needs 0 epochs.

    The key holds both models, the samples to forget, the settings and the probe's own code.
    """
    experiment = scenario.experiment
    settings = experiment.evaluate.relearning
    if settings is None:
        return []
    original = next(model.key for model in audited if model.kind == "original")
    decided_by = [
        [NUMERICS, *(key for *_, key in predictions_keys(scenario, original, "forget"))],
        [scenario.data_key, experiment.data.resize, experiment.data.view, scenario.ids_fingerprint("forget")],
        [settings, code_fingerprint(relearn)],
        [experiment.resources.threads, experiment.resources.precision, experiment.evaluate.batch_size],
    ]
    return [
        RelearnJob(
            model, original, f"artifacts/relearning/{fingerprint('relearning', model.key, original, decided_by)}.json"
        )
        for model in audited
    ]


class Relearner:
    """One worker: a scenario, and the original's predictions, which say what there is to be relearned."""

    def __init__(self, scenario: Scenario) -> None:
        torch.set_num_threads(scenario.experiment.resources.threads)
        self._scenario = scenario
        self._read = StoredPredictions(scenario).read

    def __call__(self, job: RelearnJob) -> None:
        """Write the model's record where it is missing; what the probe trains is thrown away."""
        scenario, experiment = self._scenario, self._scenario.experiment
        settings = experiment.evaluate.relearning
        if scenario.store.exists(job.key):
            return
        assert settings is not None
        known = self._read(job.original, "forget")
        target = accuracy(known.logits, known.labels).value - settings.tolerance
        found = relearn(
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
        mark = job.model.key.rsplit("/", 1)[-1]
        scenario.store.write_json(job.key, {"model": mark, "target_accuracy": target, **asdict(found)})


def read_rows(scenario: Scenario, jobs: Sequence[RelearnJob]) -> list[Row]:
    """Return two rows per model, `relearning_epochs` and `relearning_samples`; a reason where it was not reached.

    A retrained model that does not get there has no number, so the gaps are to the others: raise `max_epochs` then.
    """
    settings = scenario.experiment.evaluate.relearning
    if settings is None:
        return []
    return [row for job in jobs for row in _rows(scenario, job, settings)]


def _rows(scenario: Scenario, job: RelearnJob, settings: Settings) -> list[Row]:
    found, model = scenario.store.read_json(job.key), job.model
    reason = None
    if not found["reached"]:
        reason = (
            f"not relearned within {found['epochs']} epochs: forget accuracy {found['curve'][-1]:.3f}, to reach "
            f"{found['target_accuracy']:.3f}"
        )
    identity = {
        "model": found["model"],
        "name": model.name,
        "kind": model.kind,
        "method": model.method,
        "seed": model.seed,
    }
    return [
        {
            **identity,
            "split": "forget",
            "metric": f"relearning_{unit}",
            "setting": ",".join(f"{key}={value}" for key, value in sorted(settings.model_dump().items())),
            "reference": "original",
            "protocol": "corrected",
            "direction": "match",
            "value": float(found[unit]) if found["reached"] else None,
            "low": None,
            "high": None,
            "n": len(scenario.splits().ids("forget")),
            "interval": "none: one probe",
            "reason": reason,
        }
        for unit in ("epochs", "samples")
    ]
