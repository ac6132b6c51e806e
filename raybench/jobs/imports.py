"""Put the models that the user brings into the store: originals, retrained models and unlearned ones.

A model is `<key>.pt`, like a trained one, and `<key>.source`: what was unpacked from its file, and a hash of the
weights.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn

from raybench import models
from raybench.errors import UserError
from raybench.jobs.records import ModelRecord
from raybench.jobs.specs import TrainJob, TrialJob
from raybench.models.checkpoints import digest, fit_checkpoint, read_checkpoint
from raybench.scenario.scenario import Scenario


def import_models(scenario: Scenario, train: Iterable[TrainJob], unlearned: Iterable[TrialJob]) -> list[str]:
    """Write every checkpoint of the jobs to the store if it is missing; return what the user should know of them.

    Raises UserError for a file that cannot be read, another architecture, weights with NaN, and for a file that is
    listed as two models whose comparison would then say nothing.
    """
    listed: list[TrainJob | TrialJob] = [*train, *unlearned]
    jobs = [job for job in listed if job.checkpoint is not None]
    template: nn.Module | None = None
    for job in jobs:
        if not _is_imported(scenario, job):
            template = scenario.untrained(0) if template is None else template
            _import(scenario, job, template)
    return [*_unpacked(scenario, jobs), *_duplicates(scenario, jobs)]


def _is_imported(scenario: Scenario, job: TrainJob | TrialJob) -> bool:
    suffixes = (".pt", ".source", *([".json"] if isinstance(job, TrainJob) else []))
    return all(scenario.store.exists(f"{job.key}{suffix}") for suffix in suffixes)


def _import(scenario: Scenario, job: TrainJob | TrialJob, model: nn.Module) -> None:
    assert job.checkpoint is not None
    checkpoint = read_checkpoint(Path(job.checkpoint).expanduser())
    removed = fit_checkpoint(model, checkpoint.weights, name=job.checkpoint)
    source = {"unpacked": [*checkpoint.unpacked, *removed], "weights": digest(model.state_dict())}
    scenario.store.write_archive(f"{job.key}.pt", models.to_bytes(model))
    scenario.store.write_json(f"{job.key}.source", source)
    if isinstance(job, TrainJob):
        scenario.store.write_json(f"{job.key}.json", _record(job, model))


def _record(job: TrainJob, model: nn.Module) -> ModelRecord:
    return {
        "key": job.key,
        "kind": job.kind,
        "seed": job.seed,
        "parameters": models.num_parameters(model),
        "recipe": None,
        "samples_forward": None,
        "samples_backward": None,
        "steps": None,
        "seconds": None,
        "epochs": None,
        "loss": None,
        "workers": None,
    }


def _unpacked(scenario: Scenario, jobs: Sequence[TrainJob | TrialJob]) -> list[str]:
    """Return one sentence for each way in which state dicts were unpacked, with its files."""
    files: dict[str, list[str]] = {}
    for job in jobs:
        if unpacked := scenario.store.read_json(f"{job.key}.source")["unpacked"]:
            files.setdefault(", ".join(unpacked), []).append(str(job.checkpoint))
    return [f"{', '.join(names)}: the state dict is read {how}" for how, names in files.items()]


def _duplicates(scenario: Scenario, jobs: Sequence[TrainJob | TrialJob]) -> list[str]:
    """Return a sentence for each unlearned model that is listed in another role; raise UserError for other repeats."""
    known: dict[str, TrainJob | TrialJob] = {}
    notes = []
    for job in jobs:
        weights = scenario.store.read_json(f"{job.key}.source")["weights"]
        other = known.setdefault(weights, job)
        if other is job:
            continue
        files = dict.fromkeys(str(one.checkpoint) for one in (other, job))
        same = f"{' and '.join(files)}: {_role(job)} has the same weights as {_role(other)}"
        if isinstance(job, TrainJob) or _role(job) == _role(other):
            raise UserError(f"{same}; list every model once, in the role that it was trained for")
        notes.append(f"{same}; its result then shows what that model would get, not that of a method")
    return notes


def _role(job: TrainJob | TrialJob) -> str:
    if isinstance(job, TrialJob):
        return f"a model of methods.{job.method}"
    return "an original (model.checkpoint)" if job.kind == "original" else "a retrained model (train.retrained)"
