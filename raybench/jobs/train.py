"""Train one model of a scenario, alone or as one of several data-parallel workers, with checkpoints."""

import io
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from raybench import activity, models
from raybench.data.reading.batches import Split
from raybench.data.reading.stream import StreamedSplit
from raybench.engine.audit import audit, measure
from raybench.engine.compilation import compiled
from raybench.engine.devices import resolve_precision, set_num_threads
from raybench.engine.synchronized import synchronize
from raybench.engine.training import Progress, train
from raybench.engine.user_errors import training_failed
from raybench.errors import UserError
from raybench.jobs import curves
from raybench.jobs.records import AuditedRecord, ModelRecord
from raybench.jobs.specs import TrainJob
from raybench.scenario.scenario import AUDIT_LIMIT, Scenario
from raybench.storage.tensorboard import Curves, growing, write_folder


def _identity(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Workers:
    """The group that trains together: this worker's rank, and how the group wraps models, shares values, reports."""

    rank: int = 0
    size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = _identity
    from_first: Callable[[Any], Any] = _identity
    mean: Callable[[Tensor], Tensor] = _identity
    report: Callable[[dict[str, Any]], object] = _identity


def train_job(scenario: Scenario, job: TrainJob, workers: Workers = Workers()) -> AuditedRecord | None:
    """Make the job's model and audit if they are missing; return the model's record with its audit (rank 0 only).

    A model is `<key>.pt` (weights) and `<key>.json` (record, written last: its existence means complete). Raises
    UserError, with the line of user code, if training fails.
    """
    set_num_threads(scenario.experiment.resources.threads)
    scenario, store = scenario.of(job.request), scenario.store
    if not workers.from_first(store.exists(f"{job.key}.json")):
        try:
            with activity.working_on(job.title):
                model, record = _trained(scenario, job, workers)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            raise training_failed(f"training {job.name}", error, log=_log(scenario, job)) from error
        if workers.rank == 0:
            store.write_archive(f"{job.key}.pt", models.to_bytes(model))
            store.write_json(f"{job.key}.json", record)
            store.delete(_checkpoint(job))
            version, events = curves.training_folder(record)
            write_folder(store, _curves(scenario, job), events(), version=version)
        # once per model: a report waits some 2 s for the controller, more than a small epoch takes
        workers.report({"model": job.name, "loss": record["loss"]})
    if workers.rank != 0:
        return None
    _audit(scenario, job, job.audit_key)
    if job.tuning_audit_key is not None:
        _audit(scenario.of("tuning"), job, job.tuning_audit_key)
    return read_record(scenario, job)


def _audit(scenario: Scenario, job: TrainJob, key: str) -> None:
    if not scenario.store.exists(key):
        precision = resolve_precision(scenario.experiment.resources.precision, scenario.device)
        scenario.store.write_json(key, audit(scenario.load(job.key), scenario.audit_splits(), precision=precision))


def read_record(scenario: Scenario, job: TrainJob) -> AuditedRecord:
    """Return the record of a finished job with its audit."""
    store = scenario.store
    return cast(AuditedRecord, {**store.read_json(f"{job.key}.json"), "audit": store.read_json(job.audit_key)})


def _log(scenario: Scenario, job: TrainJob) -> str:
    """Write the traceback of the current exception into the run's folder and return where it lies."""
    key = f"{scenario.folder}/errors/{job.name}.txt"
    scenario.store.write_bytes(key, traceback.format_exc().encode())
    return scenario.store.path(key)


def _curves(scenario: Scenario, job: TrainJob) -> str:
    return f"{curves.root(scenario.folder)}/{curves.training_path(job.name)}"


def _checkpoint(job: TrainJob) -> str:
    return job.key.replace("/models/", "/checkpoints/") + ".pt"


def _pixels(split: Split) -> dict[str, Any]:
    """Return what the record says of pixels read from a scaled-down copy: its size, and whether they are exact."""
    if not isinstance(split, StreamedSplit) or split.short_side_cache is None:
        return {}
    return {"short_side_cache": split.short_side_cache.short_side, "exact_pixels": split.exact}


def _wrapped(model: nn.Module, scenario: Scenario, workers: Workers) -> nn.Module:
    """Return the model as the loop calls it; weights and their names stay those of `model`."""
    settings = scenario.experiment.train
    if settings.sync_batchnorm and workers.size > 1:
        synchronize(model)
    wrapped = workers.wrap(model)
    return compiled(wrapped, scenario.device) if settings.compile else wrapped


def _trained(scenario: Scenario, job: TrainJob, workers: Workers) -> tuple[nn.Module, ModelRecord]:
    settings, store = scenario.experiment.train, scenario.store
    recipe = settings.recipe_of(job.kind)
    model = scenario.fresh(job.seed)
    split = scenario.split(*job.roles, augment=True, recipe=recipe)
    validation = scenario.split("validation", limit=AUDIT_LIMIT)
    checkpoint: dict[str, Any] | None = None
    # every worker must resume from the same checkpoint, whatever it can see of the store
    if workers.from_first(store.exists(_checkpoint(job))):
        content = io.BytesIO(store.read_archive(_checkpoint(job)))
        checkpoint = torch.load(content, map_location=scenario.device, weights_only=True)
        model.load_state_dict(checkpoint["model"])
    seconds_before = float(checkpoint["seconds"]) if checkpoint else 0.0
    loss = float(checkpoint["loss"]) if checkpoint else float("nan")
    rows: list[dict[str, float]] = checkpoint["curve"] if checkpoint else []
    groups: list[int] = checkpoint.get("groups", []) if checkpoint else []
    groups += [] if groups[-1:] == [workers.size] else [workers.size]
    started = time.perf_counter()

    def save(state: dict[str, Any]) -> None:
        seconds = seconds_before + time.perf_counter() - started
        buffer = io.BytesIO()
        job_state = {"model": model.state_dict(), "loss": loss, "seconds": seconds, "curve": rows, "groups": groups}
        torch.save({**state, **job_state}, buffer)
        store.write_archive(_checkpoint(job), buffer.getvalue(), durable=False)

    with ExitStack() as stack:
        curve: Curves | None = None
        if workers.rank == 0:
            points = [(int(row["epoch"]), curves.training_points(row)) for row in rows]
            curve = stack.enter_context(growing(store, _curves(scenario, job), points))

        def on_epoch(progress: Progress) -> None:
            nonlocal loss
            loss = progress.loss
            if curve is not None:
                accuracy, losses = measure(model, validation)
                row = {"epoch": progress.epoch, "loss": loss, "lr": progress.lr}
                row |= {"validation_accuracy": accuracy, "validation_loss": float(losses.mean())}
                row["data_wait"] = progress.data_wait
                rows.append({**row, "seconds": seconds_before + time.perf_counter() - started})
                curve.log(progress.epoch, curves.training_points(row))

        train(
            _wrapped(model, scenario, workers),
            split,
            recipe,
            seed=job.seed,
            rank=workers.rank,
            world_size=workers.size,
            mean=workers.mean,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
            save=save if workers.rank == 0 else None,
            save_seconds=60 * settings.checkpoint_minutes,
        )
    return model, {
        "key": job.key,
        "kind": job.kind,
        "seed": job.seed,
        "parameters": models.num_parameters(model),
        "recipe": {**recipe.model_dump(), **scenario.started_from(), **_pixels(split)},
        "samples_forward": recipe.epochs * len(split),
        "samples_backward": recipe.epochs * len(split),
        "steps": recipe.epochs * recipe.num_steps(len(split)),
        "seconds": seconds_before + time.perf_counter() - started,
        "epochs": recipe.epochs,
        "loss": loss,
        "data_wait": sum(row["data_wait"] for row in rows) / max(len(rows), 1),
        "workers": workers.size,
        "groups": groups,
        "curve": rows,
    }
