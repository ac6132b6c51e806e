"""Six small models on scikit-learn's digits, with random labels on the forget samples, and a finished run."""

import copy
from dataclasses import dataclass

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Subset, TensorDataset

import raybench
from raybench.distributed.cluster import Cluster

EPOCHS = 80


@dataclass(frozen=True)
class Digits:
    """Data sets by role, and models: an original, five retrained, a fine-tuned and another retrained one."""

    sets: dict
    original: nn.Module
    retrained: list
    finetuned: nn.Module
    another: nn.Module


def network(classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, classes))


def train(data, rows, *, seed, epochs=EPOCHS, start=None):
    torch.manual_seed(seed)
    model = copy.deepcopy(start) if start is not None else network()
    optimizer, (x, y) = torch.optim.Adam(model.parameters(), lr=3e-3), data.tensors
    for _ in range(epochs):
        for batch in rows[torch.randperm(len(rows))].split(64):
            optimizer.zero_grad()
            cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model


@pytest.fixture(scope="session")
def digits():
    torch.set_num_threads(1)
    images = load_digits()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.tensor(images.images / 16, dtype=torch.float32)[:, None], torch.tensor(images.target)
    rows = torch.randperm(len(x), generator=generator)
    y[rows[:60]] = torch.randint(0, 10, (60,), generator=generator)
    data = TensorDataset(x, y)
    parts = dict(zip(("forget", "retain", "test", "unseen"), rows.split([60, 300, 300, 1137])))
    retain, both = parts["retain"], rows[:360]
    original = train(data, both, seed=0)
    return Digits(
        {role: Subset(data, ids.tolist()) for role, ids in parts.items()},
        original,
        [train(data, retain, seed=seed) for seed in range(1, 6)],
        train(data, retain, seed=6, epochs=1, start=original),
        train(data, retain, seed=7),
    )


@pytest.fixture(scope="session")
def storage(tables_folder):
    return tables_folder.parents[2]


@pytest.fixture(scope="session")
def finished(storage, tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "start", lambda self: pytest.fail("everything is in the store"))
        yield raybench.run(tiny(), storage=storage, quiet=True)
