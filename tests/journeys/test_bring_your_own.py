"""Follow docs/bring-your-own.md: write the example, check, run, export; without retrained models."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from raybench import models

from .conftest import run_folder

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("in_tasks")]
SHRUNK = ["sweep.trials=2", "sweep.seeds=1", "methods.salun=null", "methods.neggrad_plus=null"]
SHRUNK += ["evaluate.metrics=[accuracy, accuracy_gap, mia, memory_gap, cr, cka_to_retrained]"]


def test_the_page_leads_from_an_example_to_an_unlearned_checkpoint_and_its_evidence(
    project: Path, succeed: Callable[..., str], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
    first = "python -m raybench.example bring_your_own"
    assert f"{first}\nraybench check experiments/bring_your_own.yaml\nraybench run experiments" in page
    example = subprocess.run(
        [sys.executable, *first.split()[1:]],
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert example.returncode == 0, example.stderr
    (project / "experiments").mkdir(exist_ok=True)
    shutil.copy(ROOT / "experiments" / "bring_your_own.yaml", project / "experiments")
    words = ["experiments/bring_your_own.yaml", "--storage", str(tmp_path)]
    words += [word for change in SHRUNK for word in ("--set", change)]

    checked = succeed("check", *words)
    assert "your checkpoint, nothing to train" in checked
    assert "gap_to_ideal" in checked

    printed = succeed("run", *words)
    for sentence in (
        "no retrained models",
        "FA-TA",
        "separate the original from the ideals",
        "references: no retrained reference",
    ):
        assert sentence in printed, printed
    assert "distinguishable from retrained" not in printed
    assert "noise floor" not in printed

    tables = run_folder(tmp_path, "bring_your_own") / "tables"
    metrics = pd.read_parquet(tables / "metrics.parquet")
    assert set(metrics.kind) == {"original", "unlearned"}
    assert metrics.gap.isna().all()
    assert metrics.loc[metrics.metric == "cka_to_retrained", "reason"].str.contains("no retrained model").all()
    splits = pd.read_parquet(tables / "splits.parquet").set_index("id").role
    split = pd.read_csv(project / "bring_your_own" / "manifest.csv").split
    trained_on = splits.isin(["retain", "forget"])
    assert (split[splits.index[trained_on]] == "train").all()
    assert (split[splits.index[~trained_on]] == "test").all()

    evidence = run_folder(tmp_path, "bring_your_own") / "evidence"
    record = json.loads((evidence / "evidence.json").read_text())
    ids = (project / "bring_your_own" / "forget.txt").read_text()
    assert sorted((evidence / "forget_ids.txt").read_text().split()) == sorted(ids.split())
    checkpoint = (project / "bring_your_own" / "model.pt").read_bytes()
    assert record["original"]["checkpoint"]["sha256"] == hashlib.sha256(checkpoint).hexdigest()
    assert record["original"]["checkpoint"]["file"] == str(project / "bring_your_own" / "model.pt")
    assert "There is no retrained model" in (evidence / "evidence.md").read_text()
    best = load(evidence / "unlearned.pt")
    before = load(project / "bring_your_own" / "model.pt")
    assert not all(torch.equal(best[key], before[key]) for key in best)

    other = next(method for method in ("finetune", "scrub") if method != record["unlearning"]["method"])
    out = tmp_path / "other.pt"
    succeed("export", "bring_your_own", "--method", other, "--out", str(out), "--storage", str(tmp_path))
    assert not all(torch.equal(best[key], value) for key, value in load(out).items())


def load(path: Path) -> dict[str, torch.Tensor]:
    """Load a state dict into the class that a user would write, and return what that class then holds."""
    model = models.small_cnn(10, 3, 16)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.state_dict()
