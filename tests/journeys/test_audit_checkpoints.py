"""Audit models that raybench did not train: docs/audit-checkpoints.md, and a run repeated from its own checkpoints."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from raybench.engine.training import Recipe
from raybench.example import write_example

from .conftest import run_folder

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("in_tasks")]
BASE = {
    "name": "trained_here",
    "data": {"dataset": "digits", "sizes": {"train": 200, "validation": 50, "calibration": 50, "test": 50}},
    "forget": {"rule": "random", "count": 40},
    "model": {"name": "cnn", "width": 4},
    "train": {"epochs": 2, "lr": 0.1, "retrained_seeds": 3},
    "methods": {"finetune": {"epochs": 1}},
    "sweep": {"originals": 2, "seeds": 3},
    "evaluate": {"metrics": ["accuracy", "mia", "knn", "cka_to_retrained", "agreement_to_retrained"], "alphas": [0.2]},
}


def test_a_run_from_the_checkpoints_of_another_run_has_the_same_numbers(
    project: Path, succeed: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    succeed("run", str(tmp_path / "base.yaml"), "--storage", str(tmp_path / "one"))
    models = pd.read_parquet(run_folder(tmp_path / "one", "trained_here") / "tables" / "models.parquet")
    files: dict[str, list[str]] = {}
    for number, (method, seed) in enumerate(zip(models.method, models.seed)):
        file = tmp_path / f"{method}-{seed}.{('pt', 'safetensors')[number % 2]}"
        options = ("--method", method, "--seed", str(seed), "--out", str(file))
        succeed("export", "trained_here", *options, "--storage", str(tmp_path / "one"))
        files.setdefault(method, []).append(file.name)
    again = {
        "extends": "base.yaml",
        "name": "read_here",
        "model": {"checkpoint": files["original"]},
        "train": {"retrained": {"checkpoints": files["retrained"]}},
        "methods": {"finetune": {"checkpoints": files["finetune"]}},
    }
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(again))
    words = [str(tmp_path / "again.yaml"), "--storage", str(tmp_path / "two")]
    checked = succeed("check", *words)
    assert "your checkpoints (2 original, 3 retrained), nothing to train" in checked
    assert "3 retrained models, and a verdict needs 5" in checked
    printed = succeed("run", *words)
    assert "list 2 more, trained alike on other seeds, in train.retrained.checkpoints" in printed

    def rows(storage: str, name: str) -> pd.DataFrame:
        metrics = pd.read_parquet(run_folder(tmp_path / storage, name) / "tables" / "metrics.parquet")
        return metrics.drop(columns="model").sort_values(["name", "metric", "split", "setting"], ignore_index=True)

    pd.testing.assert_frame_equal(rows("one", "trained_here"), rows("two", "read_here"))
    read = pd.read_parquet(run_folder(tmp_path / "two", "read_here") / "tables" / "models.parquet")
    assert read[["samples_forward", "seconds", "relative_cost", "function"]].isna().all(axis=None)
    columns = ["retain_accuracy", "forget_loss", "mia_auc", "original"]
    pd.testing.assert_frame_equal(read[columns], models[columns])
    board = pd.read_parquet(run_folder(tmp_path / "two", "read_here") / "tables" / "leaderboard.parquet")
    assert board.relative_cost.isna().all()

    renamed = tmp_path / "renamed.pt"
    shutil.move(tmp_path / files["finetune"][0], renamed)
    again["methods"] = {"finetune": {"checkpoints": [renamed.name, *files["finetune"][1:]]}}
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(again))
    plan = succeed("check", *words)
    assert "48 forward passes" in plan
    assert "48 cached" in plan  # a renamed file is the same model


def test_the_page_leads_from_checkpoints_to_verdicts(
    project: Path, succeed: Callable[..., str], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "audit-checkpoints.md").read_text(encoding="utf-8")
    example, *commands = page.split("```bash\n", 1)[1].split("```", 1)[0].splitlines()
    assert example == "python -m raybench.example audit_checkpoints --audit"
    files = write_example(project / "audit_checkpoints", recipe=Recipe(epochs=15, lr=0.1), width=8, audit=True)
    (project / "experiments").mkdir(exist_ok=True)
    shutil.copy(ROOT / "experiments" / "audit_checkpoints.yaml", project / "experiments")
    settings = ["model.width=8", "evaluate.metrics=[accuracy, mia, cr]"]
    options = ["--storage", str(tmp_path), *(word for setting in settings for word in ("--set", setting))]
    for command in commands:
        program, *words = command.split()
        assert program == "raybench"
        printed = succeed(*words, *options)
    assert "remembers: finetuned" in printed
    folder = run_folder(tmp_path, "audit_checkpoints")
    board = pd.read_parquet(folder / "tables" / "leaderboard.parquet").set_index("method")
    assert board.conclusion["finetuned"] == "remembers"
    assert board.conclusion["exact"] in ("forgotten", "no difference")
    evidence = (folder / "evidence" / "evidence.md").read_text()
    assert "exact-0.safetensors` (sha256 " in evidence
    assert len(files) == 13
    export = page.split("```bash\n")[2].split("```", 1)[0].split()[1:]
    succeed(*export[:-1], str(tmp_path / export[-1]), "--storage", str(tmp_path))
    assert (tmp_path / "retrained2.safetensors").stat().st_size > 10_000
