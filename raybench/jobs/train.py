"""Train one model of a scenario, alone or as one of several data-parallel workers, with a checkpoint per epoch."""

import io
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raybench import models
from raybench.data.reading.batches import Split
from raybench.data.reading.stream import StreamedSplit
from raybench.engine.audit import audit, measure
from raybench.engine.devices import resolve_precision
from raybench.engine.training import Progress, train
from raybench.jobs.plan import TrainJob
from raybench.models.checkpoints import fit_checkpoint, read_checkpoint
from raybench.scenario.scenario import AUDIT_LIMIT, Scenario
from raybench.storage.tensorboard import Board, board


def _seen(split: Split) -> dict[str, Any]:
    """Return what the record says of pixels that were read from a scaled-down copy: how small, and whether it shows."""
    if not isinstance(split, StreamedSplit) or split.short_side_cache is None:
        return {}
    return {"short_side_cache": split.short_side_cache.short_side, "exact_pixels": split.exact}


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Workers:
    """Who trains together: this worker's rank, and how the group wraps a model, agrees on a value, reports a model."""

    rank: int = 0
    size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = _unchanged
    from_first: Callable[[Any], Any] = _unchanged
    report: Callable[[dict[str, Any]], object] = _unchanged


def train_job(scenario: Scenario, job: TrainJob, workers: Workers = Workers()) -> dict[str, Any]:
    """Make the job's model and audit where they are missing; return the model's record with its audit.

    A model is `<key>.pt` (weights) and `<key>.json` (record, written last: its existence means complete).
    """
    torch.set_num_threads(scenario.experiment.resources.threads)
    store = scenario.store
    if not workers.from_first(store.exists(f"{job.key}.json")):
        model, record = _trained(scenario, job, workers)
        if workers.rank == 0:
            store.write_bytes(f"{job.key}.pt", models.to_bytes(model))
            store.write_json(f"{job.key}.json", record)
            store.delete(_checkpoint(job))
        # once per model: a report waits some 2 s for the controller's next look, more than a small epoch takes
        workers.report({"model": job.name, "loss": record["loss"]})
    if workers.rank != 0:
        return {}
    if not store.exists(job.audit_key):
        precision = resolve_precision(scenario.experiment.resources.precision, scenario.device)
        store.write_json(job.audit_key, audit(scenario.load(job.key), scenario.audit_splits(), precision=precision))
    return {**store.read_json(f"{job.key}.json"), "audit": store.read_json(job.audit_key)}


def import_checkpoint(scenario: Scenario, job: TrainJob) -> None:
    """Put the user's checkpoint into the store as the original; refuse another architecture, and code inside it."""
    if job.checkpoint is None or scenario.store.exists(f"{job.key}.json"):
        return
    model = scenario.fresh(job.seed)
    fit_checkpoint(model, read_checkpoint(Path(job.checkpoint).expanduser()), name=job.checkpoint)
    cost = {
        "samples_forward": 0,
        "samples_backward": 0,
        "steps": 0,
        "seconds": 0.0,
        "epochs": 0,
        "loss": None,
        "workers": 1,
    }
    scenario.store.write_bytes(f"{job.key}.pt", models.to_bytes(model))
    scenario.store.write_json(f"{job.key}.json", {**_identity(job, model), "recipe": None, **cost})


def _identity(job: TrainJob, model: nn.Module) -> dict[str, Any]:
    size = sum(parameter.numel() for parameter in model.parameters())
    return {"key": job.key, "kind": job.kind, "seed": job.seed, "parameters": size}


def _checkpoint(job: TrainJob) -> str:
    return job.key.replace("/models/", "/checkpoints/") + ".pt"


def _trained(scenario: Scenario, job: TrainJob, workers: Workers) -> tuple[nn.Module, dict[str, Any]]:
    recipe, store = scenario.experiment.train.recipe_of(job.kind), scenario.store
    model = scenario.fresh(job.seed)
    split = scenario.split(*job.roles, augment=True, recipe=recipe)
    validation = scenario.split("validation", limit=AUDIT_LIMIT)
    checkpoint: dict[str, Any] | None = None
    # every worker must go on from the same epoch, whatever it can see of the store
    if workers.from_first(store.exists(_checkpoint(job))):
        content = io.BytesIO(store.read_bytes(_checkpoint(job)))
        checkpoint = torch.load(content, map_location=scenario.device, weights_only=True)
        model.load_state_dict(checkpoint["model"])
    before = float(checkpoint["seconds"]) if checkpoint else 0.0
    loss = float(checkpoint["loss"]) if checkpoint else float("nan")
    started = time.perf_counter()

    def save(progress: Progress) -> None:
        state = {
            "model": model.state_dict(),
            "optimizer": progress.optimizer.state_dict(),
            "epoch": progress.epoch,
            "loss": progress.loss,
            "seconds": before + time.perf_counter() - started,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        store.write_bytes(_checkpoint(job), buffer.getvalue())

    with ExitStack() as stack:
        curves: Board | None = None
        if workers.rank == 0:
            key = f"{scenario.experiment.name}/tensorboard/train/{job.name}"
            curves = stack.enter_context(
                board(store, key, purge_step=int(checkpoint["epoch"]) + 1 if checkpoint else None)
            )

        def on_epoch(progress: Progress) -> None:
            nonlocal loss
            loss = progress.loss
            if curves is not None:
                save(progress)
                accuracy, losses = measure(model, validation)
                points = {"train/loss": loss, "train/lr": progress.lr}
                points |= {"validation/accuracy": accuracy, "validation/loss": float(losses.mean())}
                curves.log(progress.epoch, points)

        train(
            workers.wrap(model),
            split,
            recipe,
            seed=job.seed,
            rank=workers.rank,
            world_size=workers.size,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
        )
    cost = {
        "samples_forward": recipe.epochs * len(split),
        "samples_backward": recipe.epochs * len(split),
        "steps": recipe.epochs * recipe.num_steps(len(split)),
        "seconds": before + time.perf_counter() - started,
    }
    return model, {
        **_identity(job, model),
        "recipe": {**recipe.model_dump(), **scenario.started_from(), **_seen(split)},
        **cost,
        "epochs": recipe.epochs,
        "loss": loss,
        "workers": workers.size,
    }
