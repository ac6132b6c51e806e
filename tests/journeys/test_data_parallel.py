"""Training with two data-parallel workers through Ray Train, and the loss of one of them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(500)]
Command = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]

QUICKSTART_DDP = str(Path(__file__).parents[2] / "experiments" / "quickstart_ddp.yaml")
WORDS = [
    "train",
    QUICKSTART_DDP,
    "--set",
    "train.epochs=4",
    "--set",
    "train.retrained_seeds=1",
    "--set",
    "model.width=4",
]


def weights(storage: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted((storage / "artifacts" / "models").glob("*.pt"))
    return {path.stem: torch.load(path, weights_only=True) for path in files}


def test_a_group_that_loses_a_worker_ends_in_the_weights_of_an_undisturbed_one(
    raybench: Command, start: Start, wait_until: Callable[..., None], tmp_path: Path
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    done = raybench(*WORDS, "--storage", str(undisturbed))
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(path.read_text()) for path in (undisturbed / "artifacts" / "models").glob("*.json")]
    assert [record["workers"] for record in records] == [2, 2]
    assert all(record["seconds"] > 0 and record["steps"] > 0 for record in records)

    process = start(*WORDS, "--storage", str(disturbed))
    wait_until(lambda: list((disturbed / "artifacts").glob("checkpoints/*.pt")), process)
    workers = [
        p for p in psutil.Process(process.pid).children(recursive=True) if "RayTrainWorker" in " ".join(p.cmdline())
    ]
    assert len(workers) == 2
    workers[-1].kill()
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    expected, found = weights(undisturbed), weights(disturbed)
    assert list(expected) == list(found)
    assert len(expected) == 2
    for model in expected:
        for name, value in expected[model].items():
            assert torch.equal(value, found[model][name]), name
