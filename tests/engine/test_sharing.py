"""What several workers compute together: the batches, gradients, curves and weights of a single worker."""

import json
import os
import subprocess
import sys

import data_parallel_worker
import pytest
import torch
from data_parallel_worker import BASE, KILLS, RECIPES, digits, fit, net, net_with_batch_norm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from raybench.data.reading.batches import iterate
from raybench.data.reading.order import epoch_order, worker_rows
from raybench.engine.sharing import Share, inverse_frequencies, mean_loss
from raybench.engine.training import Recipe


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


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """Train in a group of two processes; return the results of each."""
    folder = str(tmp_path_factory.mktemp("group"))
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, data_parallel_worker.__file__, str(rank), folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return [json.loads(out) for out, _ in outputs]


ALONE = {name: (net, changes) for name, changes in RECIPES.items()}
ALONE |= {"batch norm": (net_with_batch_norm, {}), "compiled": (net, {})}
"""What a single worker trains, by the name of the training of the group."""


def assert_close(group, alone):
    curve, weights = alone
    assert group[0] == pytest.approx(curve[len(curve) - len(group[0]) :], rel=1e-5)
    assert list(group[1]) == list(weights)
    for name, values in weights.items():
        assert group[1][name] == pytest.approx(values, rel=1e-4, abs=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_two_workers_follow_the_loss_curve_of_one_on_data_that_do_not_divide(groups, name):
    build, changes = ALONE[name]
    alone = fit(build(), Recipe(**BASE, **changes))
    assert groups[0][name][0] == groups[1][name][0]
    for group in groups:
        assert len(group[name][0]) == 3
        assert_close(group[name], alone)


@pytest.mark.slow
def test_a_group_that_is_killed_within_an_epoch_ends_in_the_same_weights_bit_for_bit(groups):
    assert groups[0]["undisturbed"] == groups[1]["undisturbed"]
    curve, weights = groups[0]["undisturbed"]
    for group in groups:
        for kill_at in KILLS:
            remaining, ended = group[f"killed {kill_at}"]
            assert ended == weights
            assert remaining == curve[len(curve) - len(remaining) :]
            assert len(remaining) >= 3 - kill_at // 6


@pytest.mark.slow
@pytest.mark.parametrize("change", ["2 to 1", "1 to 2"])
def test_a_group_that_changes_its_size_within_an_epoch_follows_the_same_curve(groups, change):
    result = groups[0][change]
    assert len(result[0]) == 2
    assert_close(result, fit(net(), Recipe(**BASE, **RECIPES["weights"])))
