"""What several workers compute together: the batches, gradients, curves and weights of a single worker."""

import json
import os
import random
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from raybench.data.images import ImageData
from raybench.data.reading.batches import ResidentSplit, iterate
from raybench.data.reading.order import epoch_order, worker_rows
from raybench.engine.sharing import Share, inverse_frequencies, mean_loss


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


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 17),
    world_size=st.integers(1, 8),
    smoothing=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
)
def test_the_mean_of_the_workers_gradients_is_the_gradient_of_the_global_batch(
    n, batch_size, world_size, smoothing, weighted
):
    split = digits(n)
    weights = inverse_frequencies(split.labels, 4).double() if weighted else None
    model = nn.Linear(64, 4).double()
    order = epoch_order(n, seed=5, epoch=1)
    for step in range(-(-n // batch_size)):
        positions = order[step * batch_size : (step + 1) * batch_size]
        x, y = split.batch(positions, generator=None)
        whole = mean_loss(model(x.double().flatten(1)), y, smoothing, weights)
        parts = []
        for rank in range(world_size):
            rows = torch.from_numpy(worker_rows(len(positions), rank=rank, world_size=world_size))
            share = Share(split, batch_size, 5, 1, rank, world_size, weights)
            parts.append(share.loss(step, model(x[rows].double().flatten(1)), y[rows], smoothing))
        together = torch.stack(parts).mean()
        assert torch.allclose(together, whole, atol=1e-12)
        expected = torch.autograd.grad(whole, model.weight)[0]
        assert torch.allclose(torch.autograd.grad(together, model.weight)[0], expected, atol=1e-12)


AUGMENT = ["flip", "affine", "jitter", "grayscale", "autoaugment"]


@pytest.mark.parametrize("crop", ["crop", "random_resized_crop"])
@pytest.mark.parametrize("first", [0, 2])
def test_workers_see_the_pixels_that_a_single_worker_sees_and_so_does_an_epoch_that_goes_on(first, crop):
    split = digits(33, [crop, *AUGMENT])
    whole = list(iterate(split, batch_size=10, seed=1, epoch=2))[first:]
    shares = [
        list(iterate(split, batch_size=10, seed=1, epoch=2, rank=rank, world_size=3, first=first)) for rank in range(3)
    ]
    for step, (x, y) in enumerate(whole):
        for rank in range(3):
            rows = worker_rows(len(x), rank=rank, world_size=3)
            assert torch.equal(shares[rank][step][0], x[rows])
            assert torch.equal(shares[rank][step][1], y[rows])


def batch_norm_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))


def plain_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))


def dropout_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4))


RECIPES = {
    "plain": {},
    "accumulate": {"accumulate": 3, "clip_norm": 0.5, "ema": 0.8},
    "weights": {"class_weights": "inverse", "label_smoothing": 0.1, "schedule": "one_cycle"},
}
SAMPLES, BATCH = 61, 15  # the last batch has 1 sample, and 15 is odd
"""Neither the samples nor the batch divide among two workers."""

KILLS = random.Random(7).sample(range(1, 17), 4)
"""After how many messages among the workers they are killed: one for each of 5 steps of an epoch, and one more."""

WORKER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import test_sharing
print(json.dumps(test_sharing.everything(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
"""


class Killed(Exception):
    pass


def everything(rank, world_size, folder):
    """Train in this worker; return losses, and weights as numbers, by the name of the training."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    from raybench.engine.synchronized import group_mean, synchronize
    from raybench.engine.training import Recipe, train

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet{world_size}", rank=rank, world_size=world_size)
    split = digits(SAMPLES, ["crop", "flip"])
    base = {"epochs": 3, "batch_size": BATCH, "lr": 0.05}

    def fit(model, recipe, checkpoint=None, kill_at=None, world_size=world_size):
        curve, saved = [], []

        def save(state):
            saved.append({**state, "model": model.state_dict()})
            torch.save(saved[-1], f"{folder}/checkpoint{world_size}.pt")

        def mean(value):  # each step on each worker: all of them die at the same one
            if kill_at is not None:
                steps.append(1)
                if len(steps) > kill_at:
                    raise Killed
            return group_mean(value) if world_size == dist.get_world_size() else value

        steps = []
        wrapped = DistributedDataParallel(model) if world_size > 1 else model
        train(
            wrapped,
            split,
            recipe,
            seed=3,
            rank=rank,
            world_size=world_size,
            mean=mean,
            checkpoint=checkpoint,
            on_epoch=lambda progress: curve.append(progress.loss),
            save=save if rank == 0 else None,
            save_seconds=0,
        )
        return curve

    def numbers(model):
        return {name: value.double().flatten().tolist() for name, value in model.state_dict().items()}

    results = {}
    for name, changes in RECIPES.items():
        model = plain_net()
        results[name] = fit(model, Recipe(**base, **changes)), numbers(model)
    model = batch_norm_net()
    results["batch norm"] = fit(synchronize(model), Recipe(**base)), numbers(model)

    recipe = Recipe(**base, ema=0.9, augment=["crop"])
    model = dropout_net()
    results["undisturbed"] = fit(model, recipe), numbers(model)
    for kill_at in KILLS:
        try:
            fit(dropout_net(), recipe, kill_at=kill_at)
        except Killed:
            dist.barrier()
            checkpoint = torch.load(f"{folder}/checkpoint{world_size}.pt", weights_only=True)
            model = dropout_net()
            model.load_state_dict(checkpoint["model"])
            results[f"killed {kill_at}"] = fit(model, recipe, checkpoint=checkpoint), numbers(model)
            dist.barrier()
    if world_size == 2:
        # the group shrinks to one worker within an epoch, and grows to two again
        recipe = Recipe(**base, class_weights="inverse")
        for kill_at, before, after in ((8, 2, 1), (9, 1, 2)):
            curve, model = None, plain_net()
            with suppress(Killed):
                if before == 2 or rank == 0:
                    fit(plain_net(), recipe, kill_at=kill_at, world_size=before)
            dist.barrier()
            checkpoint = torch.load(f"{folder}/checkpoint{before}.pt", weights_only=True)
            model.load_state_dict(checkpoint["model"])
            if after == 2 or rank == 0:
                curve = fit(model, recipe, checkpoint=checkpoint, world_size=after)
            dist.barrier()
            results[f"from {before} to {after}"] = curve, numbers(model)
    else:
        model = plain_net()
        results["fixed"] = fit(model, Recipe(**base, class_weights="inverse")), numbers(model)
    dist.destroy_process_group()
    return results


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """Train with one worker and with two; return the results of each worker."""
    folder = str(tmp_path_factory.mktemp("groups"))
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}

    def start(rank, world_size):
        words = [sys.executable, "-c", WORKER, os.path.dirname(__file__), str(rank), str(world_size), folder]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    processes = [start(0, 1), start(0, 2), start(1, 2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    return [json.loads(out) for out, _ in outputs]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RECIPES, "batch norm"])
def test_two_workers_follow_the_loss_curve_of_one_on_data_that_do_not_divide(groups, name):
    (curve, weights), (first_curve, first), (second_curve, second) = (group[name] for group in groups)
    assert len(curve) == 3
    assert first_curve == second_curve == pytest.approx(curve, rel=1e-5)
    for parameter, values in weights.items():
        assert first[parameter] == pytest.approx(values, rel=1e-4, abs=1e-5), parameter
        assert second[parameter] == pytest.approx(values, rel=1e-4, abs=1e-5), parameter


@pytest.mark.slow
@pytest.mark.parametrize("worker", [0, 1, 2])
def test_a_group_that_is_killed_within_an_epoch_ends_in_the_same_weights_bit_for_bit(groups, worker):
    results = groups[worker]
    curve, weights = results["undisturbed"]
    assert groups[1]["undisturbed"] == groups[2]["undisturbed"]
    for kill_at in KILLS:
        remaining, ended = results[f"killed {kill_at}"]
        assert ended == weights
        assert remaining == curve[len(curve) - len(remaining) :]
        assert len(remaining) >= 3 - kill_at // 6


@pytest.mark.slow
@pytest.mark.parametrize("change", ["from 2 to 1", "from 1 to 2"])
def test_a_group_that_changes_its_size_within_an_epoch_follows_the_same_curve(groups, change):
    curve, weights = groups[0]["fixed"]
    after, ended = groups[1][change]
    assert len(after) == 2
    assert after == pytest.approx(curve[1:], rel=1e-5)
    for parameter, values in weights.items():
        assert ended[parameter] == pytest.approx(values, rel=1e-4, abs=1e-5), parameter
