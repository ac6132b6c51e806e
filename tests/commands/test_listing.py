"""`raybench list`: filters, pages, messages; and what the shell completes."""

import io
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from rich.console import Console

from raybench import data, methods, registry
from raybench.commands import completion
from raybench.commands.listing import LISTS, PAGES, print_list
from raybench.config.schema import Experiment
from raybench.data import forget_rules
from raybench.errors import UserError
from raybench.methods.framework.spec import MethodSpec, hyperparameters
from raybench.scoring import metric_rows


def printed(*arguments, width=100, **options):
    stream = io.StringIO()
    print_list(arguments[0], Console(file=stream, width=width), *arguments[1:], **options)
    return stream.getvalue()


def example(text):
    """Return the YAML of a page's example."""
    lines = text.split("Example\n")[1].splitlines()
    return yaml.safe_load("\n".join(line for line in lines if line.startswith("  ")))


def test_without_a_name_every_name_is_listed():
    for what, entries in LISTS.items():
        if what not in ("experiments", "models"):
            text = printed(what)
            assert all(f"{entry.name}" in text for entry in entries())


@pytest.mark.parametrize("name", methods.names())
def test_the_page_of_a_method_has_what_its_spec_has_and_an_example_that_is_valid(name):
    text, spec = printed("methods", name, width=100_000), registry.spec_of(methods.get(name), MethodSpec)
    assert max(map(len, printed("methods", name, width=80).splitlines())) <= 110  # words of settings are not cut
    assert spec.source in text
    for note in (
        spec.formula,
        spec.passes,
        spec.needs,
        spec.limits,
        spec.released,
        *hyperparameters(methods.get(name)).model_fields,
    ):
        assert note in text
    for preset, kind in spec.reproduces.items():
        assert f"{preset} (" in text
        assert ("sets the paper's numbers" in text) == ("numbers" in spec.reproduces.values()), kind
    section = example(text)
    Experiment.model_validate(
        {"name": "x", "data": {"dataset": "digits"}, "forget": {"rule": "random", "count": 9}, "model": {"name": "cnn"}}
        | {"methods": {name: section["methods"][name] or {}}}
    )


def test_every_metric_data_set_and_rule_has_a_page_with_an_example():
    for name in metric_rows.metric_names():
        metrics = example(printed("metrics", name))["evaluate"]["metrics"]
        assert metric_rows.chosen_metrics({name: metrics[name] or {}}) == {name: metrics[name] or {}}
    for name in data.names():
        assert example(printed("datasets", name))["data"]["dataset"] == name
    for name in forget_rules.names():
        assert example(printed("rules", name))["forget"]["rule"] == name


def test_a_part_of_a_name_lists_the_names_that_contain_it():
    text = printed("methods", "selective")
    assert [line for line in text.splitlines() if line.startswith("selective_pruning")]
    assert "3 methods" in text
    assert "scrub" not in text


def test_filters_narrow_the_list_and_combine():
    assert "activation_reset" in printed("methods", needs="convolution")
    assert "scrub" not in printed("methods", needs="convolution")
    uuef = printed("methods", source="uuef")
    assert all(name in uuef for name in ("akd", "scrub", "duck"))  # also methods that UUEF only has a preset of
    assert "fcs" not in uuef
    assert "cka_to_retrained" in printed("metrics", source="uuef", needs="retrained")
    assert "knn\n" not in printed("metrics", needs="retrained")
    assert printed("datasets", needs="none").startswith("digits")
    assert "scrub" in printed("methods", find="KURMANJI")


def test_a_wrong_name_or_filter_says_what_there_is():
    with pytest.raises(UserError, match="did you mean 'scrub'"):
        printed("methods", "skrub")
    with pytest.raises(UserError, match="unknown forget rule 'klass'; did you mean 'class'"):
        printed("rules", "klass")
    with pytest.raises(UserError, match=r"no methods match --needs .foo. \(they need: a convolutional network"):
        printed("methods", needs="foo")
    with pytest.raises(UserError, match="no metrics match --source 'nobody'"):
        printed("metrics", source="nobody")


def test_a_user_defined_method_has_a_page(tmp_path, monkeypatch):
    (tmp_path / "own_listing.py").write_text(
        "from raybench import Rate, UnlearningTask, method\n\n"
        "@method(source='our paper')\n"
        "def mine(task: UnlearningTask, *, lr: Rate = 0.01) -> None:\n    'Do nothing.'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    text = printed("methods", "own_listing.mine")
    assert "our paper" in text
    assert "  lr  0.01  number > 0" in text
    with pytest.raises(UserError, match="cannot import method"):
        printed("methods", "own_listing.theirs")


def test_completion_knows_every_plug_in_without_importing_it():
    assert completion.plug_ins("methods") == methods.names()
    assert completion.plug_ins("metrics") == metric_rows.metric_names()
    assert completion.plug_ins("datasets") == list(data.names())
    assert completion.plug_ins("rules") == list(forget_rules.names())
    assert set(PAGES) == set(completion.PLUG_INS)
    code = "import sys; from raybench.commands import completion as c; c.plug_ins('metrics')"
    code += "; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_completion_of_names_files_and_runs(tmp_path, monkeypatch):
    for name in ("first", "second"):
        (tmp_path / "store" / name / "0a1b2c3d").mkdir(parents=True)
        (tmp_path / "store" / name / "0a1b2c3d" / "manifest.json").write_text("{}")
    (tmp_path / "store" / "artifacts").mkdir()
    (tmp_path / "fine.yaml").write_text("")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "deep.yml").write_text("")
    (tmp_path / "other.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    assert completion.experiment_files("") == ["files/", "fine.yaml", "store/"]
    assert completion.experiment_files("files/d") == ["files/deep.yml"]
    assert completion.experiment_files("nowhere/") == []
    context = SimpleNamespace(params={"storage": "store", "what": "methods"})
    assert completion.runs(context, "f") == ["first", "first/0a1b2c3d", "files/", "fine.yaml"]
    assert completion.runs(SimpleNamespace(params={"storage": "s3://bucket"}), "s") == ["store/"]
    assert completion.listed_names(context, "sc") == ["scar", "scrub"]
    assert completion.method_names("scr") == ["scrub"]
    assert completion.dataset_names("cif") == ["cifar10", "cifar100"]


@pytest.mark.parametrize(("shell", "word"), [("bash", "scrub"), ("zsh", '"scrub"'), ("fish", "scrub")])
def test_the_shells_get_the_words(shell, word):
    code = "import sys; sys.argv = ['raybench']; from raybench.cli import app; app(prog_name='raybench')"
    words = "raybench list methods scr"
    variables = {"COMP_WORDS": words, "COMP_CWORD": "3", "_TYPER_COMPLETE_ARGS": words}
    variables |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args", "_RAYBENCH_COMPLETE": f"complete_{shell}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **variables})
    assert word in done.stdout, done.stderr
