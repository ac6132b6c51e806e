"""TensorBoard folders that workers did not write: of jobs that another run has done, or whose worker was killed."""

from collections.abc import Iterable, Mapping, Sequence

from raybench.engine.audit import Audit
from raybench.jobs import curves
from raybench.jobs.records import ModelRecord, TrialRecord
from raybench.jobs.specs import TrainJob, TrialJob
from raybench.pipeline.results import Swept, Trained
from raybench.scenario.scenario import Scenario
from raybench.storage.store import fingerprint
from raybench.storage.tensorboard import keep_only, write_missing


def write_overview(scenario: Scenario, text: str) -> None:
    """Write the folder `experiment`: the experiment's file, and the columns of the HParams tab."""
    experiment = scenario.experiment
    version = fingerprint(curves.FORMAT, text, curves.hyperparameters(experiment))[:8]
    folder = {"experiment": (version, lambda: curves.overview(experiment, text))}
    write_missing(scenario.store, curves.root(scenario.folder), folder)


def complete_curves(
    scenario: Scenario,
    trained: Trained,
    swept: Swept,
    *,
    originals: Sequence[TrainJob] = (),
    runs: Sequence[TrialJob] = (),
) -> None:
    """Write what is missing of the curves of all trainings and trials, and remove those of an earlier experiment.

    `originals` and `runs` are those of populations.
    """
    store = scenario.store
    folders = {
        **_trainings(scenario, [*trained.jobs, *trained.reference_jobs, *originals]),
        **_trials(scenario, trained, swept, {job.key: job.number for job in originals}),
    }
    known = {job.key for job in swept.jobs}
    further = [(job.original_number, store.read_json(f"{job.key}.json")) for job in runs if job.key not in known]
    folders |= dict(_trial(scenario, number, record, trained.retrained) for number, record in further)
    root = curves.root(scenario.folder)
    write_missing(store, root, folders)
    for kind in ("training", *curves.FOLDERS.values()):
        own = [path.partition("/")[2] for path in folders if path.startswith(f"{kind}/")]
        keep_only(store, f"{root}/{kind}", own)


def _trainings(scenario: Scenario, jobs: Iterable[TrainJob]) -> dict[str, curves.Folder]:
    records: dict[str, ModelRecord] = {job.name: scenario.store.read_json(f"{job.key}.json") for job in jobs}
    return {
        curves.training_path(name): curves.training_folder(record)
        for name, record in records.items()
        if record.get("curve")
    }


def _trials(
    scenario: Scenario, trained: Trained, swept: Swept, further_originals: Mapping[str, int]
) -> dict[str, curves.Folder]:
    numbers = {**further_originals, **{key: number for number, key in enumerate(trained.originals)}}
    tuning = [record for records in (*swept.search.values(), *swept.finalists.values()) for record in records]
    targets = [trained.tuning_target(record["original"]) for record in tuning] + [trained.retrained] * len(swept.jobs)
    records = [*tuning, *swept.records]
    return dict(
        _trial(scenario, numbers[record["original"]], record, target) for record, target in zip(records, targets)
    )


def _trial(scenario: Scenario, number: int, record: TrialRecord, target: Audit) -> tuple[str, curves.Folder]:
    path = curves.trial_path(record["phase"], record["method"], record["seed"], record["key"])
    return path, curves.trial_folder(scenario.experiment, record, number, target)
