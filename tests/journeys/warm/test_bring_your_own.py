"""The page docs/bring-your-own.md, as a person follows it: an example, check, run, export; no retrained model."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from raybench import models

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
SHRUNK = ["sweep.trials=3", "sweep.seeds=1", "methods.salun=null", "methods.neggrad_plus=null"]
SHRUNK += ["evaluate.metrics=[accuracy, accuracy_gap, mia, memory_gap, cr, cka_to_retrained]"]


def test_the_page_leads_from_an_example_to_an_unlearned_checkpoint_and_its_evidence(
    project: Path, typed: Callable[..., str], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
    first = "python -m raybench.example bring_your_own"
    assert f"{first}\nraybench check experiments/bring_your_own.yaml\nraybench run experiments" in page
    made = subprocess.run(
        [sys.executable, *first.split()[1:]], cwd=project, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    (project / "experiments").mkdir()
    shutil.copy(ROOT / "experiments" / "bring_your_own.yaml", project / "experiments")
    words = ["experiments/bring_your_own.yaml", "--storage", str(tmp_path)]
    words += [word for change in SHRUNK for word in ("--set", change)]

    checked = typed("check", *words)
    assert "your checkpoint, 0 models (0 retrained)" in checked
    assert "gap_to_ideal" in checked

    done = typed("run", *words)
    for said in (
        "no retrained models",
        "FA-TA",
        "separate the original from the ideals",
        "references: no retrained reference",
    ):
        assert said in done, done
    assert "distinguishable from retrained" not in done
    assert "noise floor" not in done

    tables = tmp_path / "bring_your_own" / "tables"
    metrics = pd.read_parquet(tables / "metrics.parquet")
    assert set(metrics.kind) == {"original", "unlearned"}
    assert metrics.gap.isna().all()
    assert metrics.loc[metrics.metric == "cka_to_retrained", "reason"].str.contains("no retrained model").all()
    splits = pd.read_parquet(tables / "splits.parquet").set_index("id").role
    listed = pd.read_csv(project / "bring_your_own" / "manifest.csv").split
    seen = splits.isin(["retain", "forget"])
    assert (listed[splits.index[seen]] == "train").all()
    assert (listed[splits.index[~seen]] == "test").all()

    evidence = tmp_path / "bring_your_own" / "evidence"
    found = json.loads((evidence / "evidence.json").read_text())
    ids = (project / "bring_your_own" / "forget.txt").read_text()
    assert sorted((evidence / "forget_ids.txt").read_text().split()) == sorted(ids.split())
    given = (project / "bring_your_own" / "model.pt").read_bytes()
    assert found["original"]["checkpoint"]["sha256"] == hashlib.sha256(given).hexdigest()
    assert found["original"]["checkpoint"]["file"] == str(project / "bring_your_own" / "model.pt")
    assert "There is no retrained model" in (evidence / "evidence.md").read_text()
    best = load(evidence / "unlearned.pt")
    before = load(project / "bring_your_own" / "model.pt")
    assert not all(torch.equal(best[key], before[key]) for key in best)

    other = next(method for method in ("finetune", "scrub") if method != found["unlearning"]["method"])
    out = tmp_path / "other.pt"
    typed("export", "bring_your_own", "--method", other, "--out", str(out), "--storage", str(tmp_path))
    assert not all(torch.equal(best[key], value) for key, value in load(out).items())


def load(path: Path) -> dict[str, torch.Tensor]:
    """Load a state dict into the class that a user would write, and return what that class then holds."""
    model = models.small_cnn(10, 3, 16)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.state_dict()
