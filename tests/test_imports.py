"""Methods, metrics, models and data work where Ray, Optuna, TensorBoard and Typer are not installed."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

BLOCKED = ("ray", "optuna", "tensorboard", "tensorboardX", "typer")
PROGRAM = f"""
import importlib, pkgutil, sys
from importlib.abc import MetaPathFinder


class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)


sys.meta_path.insert(0, Blocker())
import raybench

for name in dir(raybench):
    getattr(raybench, name)
for package in ("api", "data", "engine", "methods", "metrics", "models", "scoring"):
    root = importlib.import_module(f"raybench.{{package}}")
    for module in pkgutil.walk_packages(root.__path__, f"{{root.__name__}}."):
        importlib.import_module(module.name)
import torch
from torch.utils.data import TensorDataset

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
forget, retain = (TensorDataset(torch.randn(n, 1, 4, 4), torch.arange(n) % 3) for n in (6, 12))
unlearned = raybench.unlearn(model, method="gradient_ascent", forget=forget, retain=retain, lr=0.01, epochs=1, seed=0)
assert not torch.equal(unlearned[1].weight, model[1].weight)

from raybench.metrics.accuracy import accuracy

x, y = forget.tensors
estimate = accuracy(unlearned(x).detach().numpy(), y.numpy())
assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
unseen = TensorDataset(torch.randn(9, 1, 4, 4), torch.arange(9) % 3)
audit = raybench.audit(
    model, unlearned, forget=forget, retain=retain, test=unseen, unseen=unseen, metrics=["accuracy", "mia"]
)
assert audit.verdict[0].startswith("no verdict on forgetting: 0 retrained models")
print("unlearned", sorted(set({BLOCKED}) & set(sys.modules)))
"""


def test_the_pure_packages_import_and_unlearn_without_the_distributed_ones():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "unlearned []\n"
