"""The examples of CONTRIBUTING.md: each one works unchanged. `tests/journeys` runs the experiment."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch.utils.data import TensorDataset

import raybench
from raybench import data, models
from raybench.cli import app
from raybench.config.reading import load_experiment
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```(?:python|yaml)\n# ([^\n]+)\n(.*?)```", PAGE, re.DOTALL))
MODULES = ("my_methods", "my_metrics", "my_data", "my_rules")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a folder with the files of the page and a data set for them."""
    for name in (*(f"{module}.py" for module in MODULES), "experiments/mine.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(BLOCKS[name])
    shutil.copy(ROOT / "experiments" / "quickstart.yaml", tmp_path / "experiments")
    digits = data.load("digits")
    (tmp_path / "my_images").mkdir()
    is_test = np.arange(600) >= 300
    np.savez(
        tmp_path / "my_images" / "images.npz", images=digits.pixels[:600], labels=digits.labels[:600], is_test=is_test
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in MODULES:
        sys.modules.pop(module, None)


def python(*words, cwd, path):
    """Run Python in a folder, with raybench from the folder `path`."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_method_unlearns(project):
    torch.manual_seed(0)
    model = models.build("cnn", num_classes=10, channels=1, width=4, seed=0)
    retain_set, forget_set = (TensorDataset(torch.randn(n, 1, 8, 8), torch.arange(n) % 10) for n in (24, 8))
    (call,) = re.findall(r"```python\n(import raybench\n.*?)```", PAGE, re.DOTALL)
    names = {"model": model, "retain_set": retain_set, "forget_set": forget_set}
    code = compile(call, "CONTRIBUTING.md", "exec")
    exec(code, names)
    changed = [not torch.equal(a, b) for a, b in zip(names["unlearned"].parameters(), model.parameters())]
    assert any(changed)
    with pytest.raises(raybench.UserError, match="weight"):
        raybench.unlearn(model, method="my_methods.ascend_and_repair", forget=forget_set, retain=retain_set, weight=-1)


def test_the_metric_is_the_mean_highest_probability(project):
    logits = np.random.default_rng(0).normal(size=(50, 4))
    result = importlib.import_module("my_metrics").mean_confidence(logits, np.zeros(50, np.int64))
    assert result.value == pytest.approx(np.mean([max(softmax(row)) for row in logits]))
    assert result.low < result.value < result.high
    with pytest.raises(ValueError, match="single-label"):
        importlib.import_module("my_metrics").mean_confidence(logits, np.zeros((50, 4), np.uint8))


def test_the_format_reads_its_file_and_names_a_missing_one(project, tmp_path):
    images = data.load("my_data.npz", root="my_images")
    assert np.array_equal(images.pixels, data.load("digits").pixels[:600])
    with pytest.raises(raybench.UserError, match=r"images\.npz does not exist"):
        data.load("my_data.npz", root=tmp_path)
    with pytest.raises(raybench.UserError, match="num_classes"):
        data.load("my_data.npz", root="my_images", classes=3)


def test_the_experiment_is_valid_and_forgets_every_eighth_training_sample(project):
    experiment, _ = load_experiment(project / "experiments" / "mine.yaml")
    assert set(experiment.methods) == {"my_methods.ascend_and_repair", "finetune"}
    splits = prepare(experiment, Store(str(project / "runs"))).splits()
    train = np.sort(np.concatenate([splits.ids("retain"), splits.ids("forget")]))
    assert len(train) == 200
    assert np.array_equal(np.sort(splits.ids("forget")), train[::8])


@pytest.mark.slow
def test_the_option_is_added_by_the_two_edits_of_the_page(tmp_path):
    shutil.copytree(ROOT / "raybench", tmp_path / "raybench", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "raybench" / "engine" / "training.py"
    code = file.read_text()
    for anchor, block, indent in (
        (r"class Recipe\([^\n]*\n    \"\"\"[^\n]*\n\n()", "field of Recipe", 4),
        (r"()^ +self\.optimizer\.step\(\)\n", "before self.optimizer.step() in run_step", 12),
    ):
        place = re.search(anchor, code, re.DOTALL | re.MULTILINE).start(1)
        code = code[:place] + textwrap.indent(BLOCKS[block], " " * indent) + code[place:]
    file.write_text(code)
    (tmp_path / "test_grad_noise.py").write_text(BLOCKS["tests/engine/test_grad_noise.py"])
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_grad_noise.py", cwd=tmp_path, path=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_every_file_and_command_that_the_page_names_exists():
    paths = set(re.findall(r"`((?:raybench|tests|experiments)/[\w./]*)`", PAGE)) - {"tests/engine/test_grad_noise.py"}
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    used = set(re.findall(r"^raybench (\w+)", PAGE, re.MULTILINE))
    assert used <= commands
