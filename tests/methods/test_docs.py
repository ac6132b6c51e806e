import importlib
import re
import sys
from pathlib import Path

import pytest
import tiny
import torch

import raybench
from raybench import methods
from raybench.methods import docs
from raybench.methods.spec import hyperparameters

PAGES = Path(__file__).parents[2] / "docs"


def test_the_page_of_methods_is_current() -> None:
    assert (PAGES / "methods.md").read_text() == docs.page(), "run python -m raybench.methods.docs"


@pytest.mark.parametrize("name", methods.names())
def test_every_hyperparameter_of_a_method_has_a_meaning(name: str) -> None:
    function = methods.get(name)
    summary, _, _, meanings = docs.read_docstring(function)
    assert summary.endswith(".")
    fields = set(hyperparameters(function).model_fields)
    assert fields - set(docs.COMMON) <= set(meanings)
    assert set(meanings) <= fields


def test_a_docstring_is_read_into_its_parts() -> None:
    def example() -> None:
        """Do it.

        More of it,
        over two lines.

        Released: does it
        otherwise.

        Args:
            a, b: the first
                and the second.
            c: the third: last.
        """

    summary, text, released, meanings = docs.read_docstring(example)
    assert (summary, text, released) == ("Do it.", ["More of it, over two lines."], "does it otherwise.")
    assert meanings == {"a": "the first and the second.", "b": "the first and the second.", "c": "the third: last."}


def test_ranges_and_choices_are_shown_as_they_are_checked() -> None:
    page = docs.page()
    assert "| `clip_norm` | None | float > 0 or None |" in page
    assert "| `density` | 0.5 | float >= 0 <= 1 |" in page
    assert "| `order` | max_then_min | max_then_min, min_then_max |" in page
    assert "| `max_steps` | None | int >= 1 or None |" in page


def test_the_example_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(# my_methods.py\n.*?)```", (PAGES / "adding-a-method.md").read_text(), re.DOTALL)
    (tmp_path / "my_methods.py").write_text(code[0])
    monkeypatch.syspath_prepend(tmp_path)
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
