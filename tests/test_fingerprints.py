"""Fingerprints change with the code of a function and of its imports, and not with prose."""

import importlib
import sys

import pytest

from raybench import methods, metrics
from raybench.fingerprints import _closure, code_fingerprint
from raybench.metrics.framework.spec import MetricSpec
from raybench.registry import discover, find
from raybench.scoring import metric_rows

MAIN = '''
"""A module."""
from pydantic import BaseModel, Field
from raybench import Rate, method
from helpers_of_plugin import double


class Options(BaseModel):
    size: int = Field(default=3, ge=1, description="a size")


@method(source="a paper", formula="x")
def plugin(task, *, lr: Rate = 0.1) -> None:
    """Do it."""
    # a comment
    double(lr)
'''
HELPER = "def double(x):\n    return 2 * x\n"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a plug-in and its helper; return a function that replaces text in one of them and fingerprints again."""
    files = {"plugin_under_test": MAIN, "helpers_of_plugin": HELPER}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    function = importlib.import_module("plugin_under_test").plugin

    def fingerprint(file=None, old="", new=""):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text.replace(old, new) if name == file else text)
        return code_fingerprint(function)

    yield fingerprint
    for name in files:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Do it.", "Do it, in other words."),
        ("# a comment", "# another comment"),
        ('source="a paper"', 'source="a paper, section 3"'),
        ('formula="x"', 'formula="y"'),
        ('"""A module."""', '"""A module, described."""'),
        ('description="a size"', 'description="a size in pixels"'),
        ("    double(lr)", "    double(\n        lr\n    )"),
    ],
)
def test_an_edit_of_prose_or_layout_keeps_the_fingerprint(plugin, old, new):
    assert plugin("plugin_under_test", old, new) == plugin()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("plugin_under_test", "double(lr)", "double(2 * lr)"),
        ("plugin_under_test", "Rate = 0.1", "Rate = 0.2"),
        ("plugin_under_test", "default=3", "default=4"),
        ("helpers_of_plugin", "2 * x", "3 * x"),
    ],
)
def test_an_edit_of_the_code_or_of_an_imported_module_changes_the_fingerprint(plugin, file, old, new):
    assert plugin(file, old, new) != plugin()


def modules_behind(function):
    import inspect
    from pathlib import Path

    return {path.stem for path in _closure(inspect.getmodule(function), Path(inspect.getsourcefile(function)))}


def test_a_method_depends_on_the_modules_it_imports_and_on_no_other_method():
    behind = modules_behind(methods.get("ssd"))
    assert {"importance", "task", "batches"} <= behind
    assert "scrub" not in behind
    assert not {"errors", "registry", "progress"} & behind


def test_a_metric_depends_on_its_own_functions_and_not_on_all_metrics():
    accuracy = find("metric", "accuracy", metrics.__name__, MetricSpec)
    assert "cka" not in modules_behind(accuracy)
    assert "intervals" in modules_behind(accuracy)


def test_scores_depend_on_the_chosen_metrics_and_the_metrics_they_read():
    names = set(metric_rows.code_fingerprints(["accuracy"]))
    assert names == {"", "accuracy"}
    reading = next(name for name in discover(metrics.__name__, MetricSpec) if metric_rows.metrics_read(name))
    assert set(metric_rows.metrics_read(reading)) <= set(metric_rows.code_fingerprints([reading]))
