"""The examples of docs/python-api.md and the notebook run as they are."""

import json
import re
from pathlib import Path

import pytest
import yaml
from torch.utils.data import Subset

import raybench

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "python-api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def names(digits):
    """Return what the examples of the page take for granted: models and data."""
    sets = {f"{role}_set": data for role, data in digits.sets.items()}
    sets["unseen_set"] = Subset(digits.sets["unseen"], range(200))
    return {**sets, "original": digits.original, "unlearned": digits.finetuned, "retrained": digits.retrained}


def test_every_example_of_the_page_runs(names, tables_folder, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "quickstart.yaml").write_text(yaml.safe_dump(tiny(name="quickstart"), sort_keys=False))
    (tmp_path / "runs").symlink_to(tables_folder.parents[2])
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"python-api.md, example {number}", "exec"), names)
    assert len(BLOCKS) == 8
    assert isinstance(names["run"], raybench.Run)
    assert names["table"].loc["do nothing", ("accuracy", "forget")] > names["table"].loc["retrained"].iloc[0]
    assert names["worst"].exposure.iloc[0] > 0.5


def test_the_page_documents_every_exported_function_of_the_api():
    api = {name for name, module in raybench._EXPORTS.items() if module.startswith("raybench.api")}
    assert api | {"unlearn"} == set(re.findall(r"^::: raybench\.(\w+)$", PAGE, re.MULTILINE))


@pytest.mark.slow
def test_the_notebook_audits_a_model():
    cells = [cell for cell in json.loads((DOCS / "audit.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    names = {}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"audit.ipynb, cell {number}", "exec"), names)
    board = names["audit"].leaderboard.set_index("method")
    assert board.conclusion[["retrain", "finetune", "do nothing"]].tolist() == ["forgotten", "remembers", "remembers"]
    assert "memory left" in names["audit"]._repr_html_()
    assert names["audit"].plot.memory()._repr_png_().startswith(b"\x89PNG")
