"""The guide to writing a method: its example runs unchanged."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import tiny
import torch

import raybench

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"


def test_the_example_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(# my_methods.py\n.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "my_methods.py").write_text(code[0])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_methods", raising=False)  # CONTRIBUTING has a module of this name too
    model = tiny.net(norm=True)
    forget, retain = tiny.samples(5, seed=1), tiny.samples(9, seed=2)
    try:
        result = raybench.unlearn(
            model, method="my_methods.shuffle_logits", forget=forget, retain=retain, weight=0.5, batch_size=4
        )
        gentle = raybench.unlearn(
            model,
            method=importlib.import_module("my_methods").shuffle_logits,
            forget=forget,
            retain=retain,
            preset="gentle",
        )
    finally:
        sys.modules.pop("my_methods", None)
    assert all(bool(torch.isfinite(p).all()) for p in result.parameters())
    assert tiny.distance(result, model) > 0
    assert torch.equal(gentle[1].running_mean, model[1].running_mean)
