"""The experiment of CONTRIBUTING.md, with the method, metric, format and rule of that page, runs unchanged."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raybench import data

from .conftest import run_folder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("in_tasks")]


def test_the_experiment_runs_with_everything_that_the_page_adds(
    project: Path, raybench: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    (project / "experiments").mkdir(exist_ok=True)
    shutil.copy(ROOT / "experiments" / "quickstart.yaml", project / "experiments")
    for name, text in re.findall(r"```(?:python|yaml)\n# ((?:my_|experiments/)[^\n]+)\n(.*?)```", PAGE, re.DOTALL):
        (project / name).write_text(text)
    digits = data.load("digits")
    (project / "my_images").mkdir()
    arrays = {"images": digits.pixels[:600], "labels": digits.labels[:600], "is_test": np.arange(600) >= 300}
    np.savez(project / "my_images" / "images.npz", **arrays)

    modules = set(sys.modules)
    try:
        done = raybench("run", "experiments/mine.yaml", "--storage", str(tmp_path / "runs"))
    finally:
        for name in set(sys.modules) - modules:
            if name.startswith("my_"):
                del sys.modules[name]

    assert done.code == 0, done.stdout + done.stderr
    assert "my_methods.ascend_and_repair" in done.stdout
    metrics = pd.read_parquet(run_folder(tmp_path / "runs", "mine") / "tables" / "metrics.parquet")
    confidence = metrics[metrics.metric == "my_metrics.mean_confidence"]
    assert set(confidence.split) == {"forget", "test"}
    assert confidence.value.between(0, 1).all()
