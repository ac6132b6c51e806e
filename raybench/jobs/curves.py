"""What TensorBoard shows of trainings and trials: folders, tags, hyperparameters.

Everything is made from the records in the store, so the curves of a job that another run has done already, or that was
killed after its record was written, are written afterwards (`training_folder`, `trial_folder`).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event

from raybench.config.schema import Experiment
from raybench.engine.audit import AUDIT_FIELDS, Audit, objective
from raybench.jobs.records import ModelRecord, TrialRecord
from raybench.jobs.specs import Phase, model_id
from raybench.storage import events
from raybench.storage.store import fingerprint

FORMAT = 2  # raised when the events of a folder change, so that the folders of earlier runs are written again
# training and trials use the same tags, so that a chart holds both
AUDIT_TAGS = {
    **{name: "/".join(name.rsplit("_", 1)) for name in AUDIT_FIELDS},
    "mia_auc": "membership/auc",
}
TRAINING_TAGS = {
    "loss": "train/loss",
    "lr": "train/lr",
    "data_wait": "train/data_wait",
    "validation_accuracy": AUDIT_TAGS["validation_accuracy"],
    "validation_loss": AUDIT_TAGS["validation_loss"],
}
FOLDERS = {"search": "sweep", "finalist": "finalists", "final": "final"}

Folder = tuple[str, Callable[[], Iterable[Event]]]


def root(run: str) -> str:
    """Return the folder of a run (`name/fingerprint`) that TensorBoard is started on."""
    return f"{run}/tensorboard"


def training_path(name: str) -> str:
    """Return the folder of a training, by the name of its model."""
    return f"training/{name}"


def trial_path(phase: Phase, method: str, seed: int, key: str) -> str:
    """Return the folder of a trial: by the start of its id, or by the seed of a reported run."""
    return f"{FOLDERS[phase]}/{method}/{f'seed-{seed}' if phase == 'final' else model_id(key)[:8]}"


def training_points(row: Mapping[str, float]) -> dict[str, float]:
    """Return the values of one epoch of a training by tag."""
    return {tag: row[name] for name, tag in TRAINING_TAGS.items() if name in row}  # older records lack some


def trial_points(experiment: Experiment, row: Mapping[str, Any], target: Audit) -> dict[str, float]:
    """Return the values of one epoch of a trial by tag; `target` is what its sweep aims at."""
    name, values = experiment.sweep.objective, {field: row[field] for field in AUDIT_FIELDS}
    return {
        **{AUDIT_TAGS[field]: value for field, value in values.items()},
        f"objective/{name}": objective(name, values, target),
        "cost/seconds": row["seconds"],
    }


def training_folder(record: ModelRecord) -> Folder:
    """Return the version and the events of a training's folder; an imported checkpoint has no curve."""
    curve = record.get("curve", [])

    def made() -> Iterable[Event]:
        start = time.time() - (record["seconds"] or 0)
        for row in curve:
            yield events.scalars(int(row["epoch"]), training_points(row), wall_time=start + row["seconds"])

    return fingerprint(FORMAT, curve)[:8], made


def trial_folder(experiment: Experiment, record: TrialRecord, number: int, target: Audit) -> Folder:
    """Return the version and the events of a trial's folder: its curves, its row in the HParams tab, its error.

    `number`: of its original in this experiment; `target`: what its sweep aims at.
    """
    columns = hyperparameters(experiment)
    own = {"method": record["method"], "phase": record["phase"], "seed": record["seed"], "original": number}

    def made() -> Iterable[Event]:
        rows = record["epochs"]
        start = time.time() - (rows[-1]["seconds"] if rows else 0)
        for row in rows:
            points = trial_points(experiment, row, target)
            yield events.scalars(row["epoch"], points, wall_time=start + row["seconds"])
        status: Any = "STATUS_FAILURE" if record["status"] == "failed" else "STATUS_SUCCESS"
        yield from events.session({**own, **record["setting"]}, status, texts=events.text_columns(columns))
        if record["reason"]:
            error = f"\n\n```\n{record['traceback']}\n```" if "traceback" in record else ""
            yield events.text("status", f"{record['status']}: {record['reason']}{error}")

    return fingerprint(FORMAT, columns, own, target, record["status"], len(record["epochs"]))[:8], made


def hyperparameters(experiment: Experiment) -> dict[str, list[Any]]:
    """Return the columns of the HParams tab with their values: what any method sets, and which run it is."""
    columns: dict[str, list[Any]] = {
        "method": list(experiment.methods),
        "phase": list(FOLDERS),
        "seed": [0],
        "original": [0],
    }
    for method in experiment.methods:
        for name, space in experiment.spaces(method).items():
            columns.setdefault(name, []).extend(space.values)
    return columns


def overview(experiment: Experiment, text: str) -> list[Event]:
    """Return the events of the folder `experiment`: its file, and the columns of the HParams tab."""
    name = experiment.sweep.objective
    metrics = {f"objective/{name}": name} | {tag: tag for tag in AUDIT_TAGS.values()} | {"cost/seconds": "cost/seconds"}
    return [
        events.hyperparameter_columns(hyperparameters(experiment), metrics, first=("method", "phase")),
        events.text("experiment", f"```yaml\n{text.rstrip()}\n```"),
    ]
