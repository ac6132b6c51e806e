"""Trainings of one worker of a group of two, and the same alone: `python data_parallel_worker.py RANK FOLDER`."""

import json
import random
import sys
from contextlib import suppress

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from raybench.data.images import ImageData
from raybench.data.reading.batches import ResidentSplit
from raybench.engine import compilation
from raybench.engine.compilation import compiled
from raybench.engine.synchronized import group_mean, synchronize
from raybench.engine.training import Recipe, train

SAMPLES, BATCH = 61, 15  # the last batch has 1 sample, and 15 is odd: nothing divides among two workers
BASE = {"epochs": 3, "batch_size": BATCH, "lr": 0.05}
RECIPES = {
    "plain": {},
    "accumulate": {"accumulate": 3, "clip_norm": 0.5, "ema": 0.8},
    "weights": {"class_weights": "inverse", "label_smoothing": 0.1, "schedule": "one_cycle"},
}
KILLS = random.Random(7).sample(range(1, 17), 4)
"""After how many messages among the workers they are killed: one for each of 5 steps of an epoch, and one more."""


class Killed(Exception):
    pass


def digits(n, augment=()):
    draws = np.random.default_rng(0)
    data = ImageData(
        images=draws.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8),
        labels=draws.integers(0, 4, n),
        part=np.zeros(n, dtype=np.uint8),
        class_names=("a", "b", "c", "d"),
        mean=(0.5,),
        std=(0.3,),
    )
    return ResidentSplit(data, np.arange(n), augment=augment)


def net(*middle, features=144):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), *middle, nn.ReLU(), nn.Flatten(), nn.Linear(features, 4))


def net_with_batch_norm():
    return net(nn.BatchNorm2d(4))


def net_with_dropout():
    return net(nn.Dropout(0.5))


def fit(model, recipe, *, rank=0, size=1, wrap=lambda model: model, folder=None, checkpoint=None, kill_at=None):
    """Train, with a checkpoint after every step in `folder`; return the losses and the weights as numbers."""
    curve, messages = [], []

    def save(state):
        torch.save({**state, "model": model.state_dict()}, f"{folder}/{size}.pt")

    def mean(value):
        messages.append(1)  # each worker takes part in every step, so all of them die at the same one
        if kill_at is not None and len(messages) > kill_at:
            raise Killed
        return group_mean(value) if size > 1 else value

    train(
        wrap(DistributedDataParallel(model) if size > 1 else model),
        digits(SAMPLES, ["crop", "flip"]),
        recipe,
        seed=3,
        rank=rank,
        world_size=size,
        mean=mean,
        checkpoint=checkpoint,
        on_epoch=lambda progress: curve.append(progress.loss),
        save=save if folder is not None and rank == 0 else None,
        save_seconds=0,
    )
    return curve, {name: value.double().flatten().tolist() for name, value in model.state_dict().items()}


def resumed(build, recipe, folder, *, sizes, rank, kill_at):
    """Train in a group of sizes[0] that is killed, then in one of sizes[1] from its checkpoint."""
    before, after = sizes
    with suppress(Killed):
        if rank < before:
            fit(build(), recipe, rank=rank, size=before, folder=folder, kill_at=kill_at)
    dist.barrier()
    checkpoint = torch.load(f"{folder}/{before}.pt", weights_only=True)
    model = build()
    model.load_state_dict(checkpoint["model"])
    result = fit(model, recipe, rank=rank, size=after, checkpoint=checkpoint) if rank < after else None
    dist.barrier()
    return result


def group(rank, folder):
    """Return the results of this worker by the name of the training."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    here = {"rank": rank, "size": 2}
    results = {name: fit(net(), Recipe(**BASE, **changes), **here) for name, changes in RECIPES.items()}
    results["batch norm"] = fit(synchronize(net_with_batch_norm()), Recipe(**BASE), **here)
    compilation.BACKEND = "eager"  # traces the model and runs it as it is
    wrap = {"wrap": lambda model: compiled(model, torch.device("cpu"))}
    results["compiled"] = fit(net(), Recipe(**BASE), **here, **wrap)
    recipe = Recipe(**BASE, ema=0.9)
    results["undisturbed"] = fit(net_with_dropout(), recipe, **here)
    for kill_at in KILLS:
        results[f"killed {kill_at}"] = resumed(
            net_with_dropout, recipe, folder, sizes=(2, 2), rank=rank, kill_at=kill_at
        )
    for sizes, kill_at in (((2, 1), 8), ((1, 2), 9)):
        results[f"{sizes[0]} to {sizes[1]}"] = resumed(
            net, Recipe(**BASE, **RECIPES["weights"]), folder, sizes=sizes, rank=rank, kill_at=kill_at
        )
    dist.destroy_process_group()
    return results


if __name__ == "__main__":
    print(json.dumps(group(int(sys.argv[1]), sys.argv[2])))
