"""Train with two data-parallel workers through Ray Train, and lose one of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from raybench.config.reading import load_experiment
from raybench.engine.synchronized import group_mean
from raybench.jobs.plan import train_jobs
from raybench.jobs.train import Workers, train_job
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store

from .conftest import Interrupts

pytestmark = [pytest.mark.ray, pytest.mark.slow]
OVERRIDES = ["train.workers=2", "train.retrained_seeds=1", "sweep.originals=1", "sweep.tuning_request=same"]


def weights(storage: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return every trained model's state dict by the model's key."""
    files = sorted((storage / "artifacts" / "models").glob("*.pt"))
    return {path.stem: torch.load(path, weights_only=True) for path in files}


def train_undisturbed(project: Path, storage: Path) -> None:
    """Train the same models in two plain tasks that meet through a file, without Ray Train."""
    experiment, _ = load_experiment(project / "small.yaml", OVERRIDES)
    scenario = prepare(experiment, Store(str(storage)))

    def train(rank: int) -> None:
        def from_first(value: object) -> object:
            values = [value]
            dist.broadcast_object_list(values, src=0)
            return values[0]

        dist.init_process_group("gloo", init_method=f"file://{storage}/meeting", rank=rank, world_size=2)
        for job in train_jobs(scenario):
            train_job(scenario, job, Workers(rank, 2, DistributedDataParallel, from_first, group_mean))
        dist.destroy_process_group()

    ray.get([ray.remote(train).options(num_cpus=1).remote(rank) for rank in (0, 1)])


def test_a_group_that_loses_a_worker_ends_in_the_weights_of_an_undisturbed_one(
    project: Path, succeed: Callable[..., str], interrupts: Interrupts, tmp_path: Path
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    train_undisturbed(project, undisturbed)

    died = interrupts.ask("die", disturbed, "checkpoints/*.pt", 1)
    words = [word for override in OVERRIDES for word in ("--set", override)]
    succeed("run", "small.yaml", "--until", "train", *words, "--storage", str(disturbed))
    assert died.exists()
    records = [json.loads(path.read_text()) for path in (disturbed / "artifacts" / "models").glob("*.json")]
    assert [record["workers"] for record in records] == [2, 2]
    assert all(record["seconds"] > 0 and record["steps"] > 0 for record in records)
    expected, actual = weights(undisturbed), weights(disturbed)
    assert list(expected) == list(actual)
    assert len(expected) == 2
    for model in expected:
        for name, value in expected[model].items():
            assert torch.equal(value, actual[model][name]), name
