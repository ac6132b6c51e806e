"""Mistakes on the command line: one sentence that says how to fix it, exit code 2, nothing lost."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from raybench import models
from raybench.cli import main

QUICKSTART = str(Path(__file__).parents[2] / "experiments" / "quickstart.yaml")
Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Run the command line in this process, expect a refusal and return its message."""

    def run(*words: str, storage: str | None = None) -> str:
        where = ["--storage", storage or str(tmp_path / "storage")]
        monkeypatch.setattr(sys, "argv", ["raybench", *words, *where])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        message = capsys.readouterr().err
        assert message.startswith("raybench: ")
        assert "Traceback" not in message
        return message

    return run


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method.finetune={}", ["method", "did you mean 'methods'", "--set method.finetune"]),
        ("train.epoch=3", ["train.epoch", "did you mean 'epochs'"]),
        ("methods.finetun={}", ["unknown method 'finetun'", "did you mean 'finetune'"]),
        ("evaluate.metrics=[accuracyy]", ["unknown metric 'accuracyy'", "did you mean 'accuracy'"]),
        ("data.dataset=digit", ["unknown dataset 'digit'", "did you mean 'digits'"]),
        ("model.name=resnet81", ["unknown model 'resnet81'", "resnet18"]),
        ("forget.rule=randm", ["unknown forget rule 'randm'", "did you mean 'random'"]),
        ("methods.finetune={lr: fast}", ["finetune", "lr", "'fast'", "number"]),
        ("methods.finetune={lr: -1.0}", ["finetune", "lr", "-1.0", "greater than 0"]),
        ("methods.finetune={lr: {loguniform: [-1.0, 1.0]}}", ["finetune.lr", "loguniform", "low > 0"]),
        ("methods.salun={density: {uniform: [0.5, 1.5]}}", ["density", "1.5"]),
        ("sweep.objective=luck", ["luck", "gap_to_retrained"]),
        ("train.epochs=many", ["train.epochs", "'many'", "whole number"]),
        ("evaluate.alphas=[0.001]", ["0.001", "999", "calibration"]),
        ("forget={rule: random, count: 0}", ["random", "count"]),
        ("forget={rule: random, count: 600}", ["600"]),
        ("forget={rule: class, classes: [12]}", ["12"]),
        ("forget={rule: ids, ids: [5000]}", ["5000", "not training samples"]),
        ("data.sizes.train=5000", ["5000"]),
        ("data.sizes.calibration=0", ["calibration"]),
        ("model.checkpoint=nowhere.pt", ["nowhere.pt", "current folder"]),
        ("train.retrained_seeds=0", ["sweep.objective", "set objective: gap_to_ideal", "train.retrained_seeds: 1"]),
    ],
)
def test_a_wrong_experiment_is_refused_with_the_key_the_value_and_what_is_allowed(
    refused: Refused, override: str, words: list[str]
) -> None:
    message = refused("run", QUICKSTART, "--set", override)
    for word in words:
        assert word in message, message


def test_a_missing_experiment_file_names_the_nearest_file(refused: Refused) -> None:
    message = refused("run", QUICKSTART.replace("quickstart.yaml", "quikstart.yaml"))
    assert "does not exist" in message
    assert "quickstart.yaml" in message


def test_a_missing_data_folder_lists_the_files_it_should_hold(refused: Refused, tmp_path: Path) -> None:
    message = refused("check", QUICKSTART, "--set", f"data={{dataset: cifar10, root: {tmp_path / 'nowhere'}}}")
    assert "cifar-10-batches-py" in message
    assert "data_batch_1" in message


def test_a_truncated_data_file_is_named(refused: Refused, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    images = np.zeros((20, 3072), np.uint8)
    content = pickle.dumps({"data": images, "labels": [0] * 20}, protocol=2)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(content[: len(content) // 2] if name == "data_batch_3" else content)
    message = refused("check", QUICKSTART, "--set", f"data={{dataset: cifar10, root: {tmp_path}}}")
    assert "data_batch_3" in message


def test_a_checkpoint_of_another_architecture_says_what_differs(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(models.build("cnn", num_classes=7, channels=1, width=16).state_dict(), path)
    message = refused("run", QUICKSTART, "--set", f"model.checkpoint={path}")
    assert "another architecture" in message
    assert "(7," in message


def test_a_checkpoint_that_holds_code_is_refused_and_the_code_never_runs(refused: Refused, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (marker,)  # type: ignore[return-value]

    torch.save({"state_dict": Evil()}, path)
    message = refused("run", QUICKSTART, "--set", f"model.checkpoint={path}")
    assert "never runs" in message
    assert not marker.exists()


def test_a_storage_that_cannot_be_written_is_refused_before_any_work(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    message = refused("run", QUICKSTART, storage=str(tmp_path / "file"))
    assert str(tmp_path / "file") in message
    assert "--storage" in message


def test_an_address_where_nothing_listens_is_refused_within_seconds(refused: Refused) -> None:
    message = refused("run", QUICKSTART, "--address", "127.0.0.1:9")
    assert "nothing listens" in message


def test_ray_client_is_refused_before_any_work(refused: Refused) -> None:
    message = refused("run", QUICKSTART, "--address", "ray://127.0.0.1:9")
    assert "Ray Client is not supported" in message
    assert "raybench submit" in message


def test_a_report_on_a_run_that_is_not_there_says_so(refused: Refused) -> None:
    assert "unknown run" in refused("report", "ghost")
