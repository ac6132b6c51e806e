"""Train models: small ones packed as tasks, large ones data parallel through Ray Train."""

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train.torch import TorchTrainer, get_device
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from raybench.distributed.activities import announce
from raybench.distributed.failures import original_errors
from raybench.distributed.resources import Deadline, needs
from raybench.engine.synchronized import group_mean
from raybench.jobs.specs import TrainJob
from raybench.jobs.train import Workers, train_job
from raybench.scenario.scenario import Scenario

OnModel = Callable[[str], None]


def run_training(scenario: Scenario, jobs: Sequence[TrainJob], on_model: OnModel) -> None:
    """Train every job; `on_model` is called with each model's name when it is finished."""
    if scenario.experiment.train.most_workers > 1:
        _data_parallel(scenario, jobs, on_model)
    else:
        _packed(scenario, jobs, on_model)


def _packed(scenario: Scenario, jobs: Sequence[TrainJob], on_model: OnModel) -> None:
    """Run one task per model: starting a trainer takes 10 to 20 s, training a small model 2 s."""
    resources = scenario.experiment.resources
    task = ray.remote(
        num_cpus=resources.cpus_per_model, num_gpus=resources.gpus_per_model, max_retries=resources.retries
    )(_train_one)
    shared = ray.put(scenario)
    running = {task.options(name=job.title).remote(shared, job): job for job in jobs}
    while running:
        ready, _ = ray.wait(list(running), num_returns=1)
        for reference in ready:
            job = running.pop(reference)
            with original_errors(f"training {job.name}"):
                ray.get(reference)
            on_model(job.name)


def _train_one(scenario: Scenario, job: TrainJob) -> None:
    announce()
    train_job(scenario, job)


def _data_parallel(scenario: Scenario, jobs: Sequence[TrainJob], on_model: OnModel) -> None:
    """Train all models in turn in one trainer, so that its start is paid once.

    Checkpoints are in the store, so a group that lost a worker, or a driver that was killed, resumes from the last one;
    Ray Train's own checkpoints are not used.
    """
    experiment, store = scenario.experiment, scenario.store
    resources, train = experiment.resources, experiment.train
    fewest, most = train.fewest_workers, train.most_workers
    num_workers: Any = most if fewest == most else (fewest, most)
    folder, name = store.scratch(experiment.name), f"train-{uuid.uuid4().hex[:12]}"
    trainer = TorchTrainer(
        _train_all,
        train_loop_config={"scenario": scenario, "jobs": list(jobs)},
        scaling_config=ray.train.ScalingConfig(
            num_workers=num_workers,
            use_gpu=resources.gpus_per_model > 0,
            resources_per_worker={"CPU": resources.cpus_per_model}
            | ({"GPU": resources.gpus_per_model} if resources.gpus_per_model else {}),
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=store.path(folder),
            storage_filesystem=store.filesystem,
            failure_config=ray.train.FailureConfig(max_failures=resources.retries),
        ),
    )
    outcome: Future[object] = Future()

    def fit() -> None:
        try:
            outcome.set_result(trainer.fit())
        except BaseException as error:  # re-raised by the waiting driver
            outcome.set_exception(error)

    # a daemon thread, so that Ctrl-C ends the driver at once
    threading.Thread(target=fit, daemon=True).start()
    waiting = list(jobs)
    deadline = Deadline(needs(experiment)[0], 60 * resources.wait_minutes)  # Ray Train itself waits without an end
    with original_errors(f"data-parallel training, after {resources.retries} retries,"):
        while not outcome.done():  # the store shows which models are finished
            wait([outcome], timeout=1.0)
            deadline.check()
            for job in [job for job in waiting if store.exists(f"{job.key}.json")]:
                waiting.remove(job)
                on_model(job.name)
        outcome.result()
    store.filesystem.delete_dir(store.path(f"{folder}/{name}"))


def _train_all(config: dict[str, Any]) -> None:
    context = ray.train.get_context()
    device = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    workers = Workers(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        wrap=_wrap,
        from_first=_from_first,
        mean=group_mean,
        report=ray.train.report,
    )
    if workers.rank == 0:
        announce()
    for job in config["jobs"]:
        train_job(config["scenario"], job, workers)


def _wrap(model: nn.Module) -> nn.Module:
    return DistributedDataParallel(model)


def _from_first(value: Any) -> Any:
    shared = [value]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]
