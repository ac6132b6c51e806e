"""Plug-ins are found by decorator in a package, or by the full name of a user-defined function."""

import importlib
import sys

import pytest

from raybench import methods, registry
from raybench.errors import UserError
from raybench.methods.framework.spec import MethodSpec
from raybench.metrics.framework.spec import MetricSpec
from raybench.scoring import metric_rows


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of plug-ins: one of its own, one that it only imports, one with a trailing underscore, one plain."""
    folder = tmp_path / "plugged_in"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    method = "from raybench.methods.framework.spec import method\n"
    (folder / "one.py").write_text(method + "@method(source='s')\ndef zebra(task): ...\ndef helper(task): ...\n")
    (folder / "two.py").write_text(
        method + "from plugged_in.one import zebra\n@method(source='s')\ndef class_(task): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield "plugged_in"
    for name in [name for name in sys.modules if name.split(".")[0] == "plugged_in"]:
        del sys.modules[name]


def test_a_new_file_is_found_without_being_listed_anywhere(package):
    assert list(registry.discover(package, MethodSpec)) == ["class", "zebra"]


def test_functions_of_another_kind_are_not_discovered(package):
    assert registry.discover(package, MetricSpec) == {}


def test_shipped_methods_are_registered():
    assert set(methods.names()) >= {
        "retrain",
        "finetune",
        "gradient_ascent",
        "neggrad_plus",
        "random_label",
        "salun",
        "scrub",
    }


def test_a_user_defined_method_is_found_by_its_full_name(own_methods):
    assert methods.get(f"{own_methods}.shift").__name__ == "shift"


def test_the_error_of_an_unknown_name_says_how_to_name_your_own_function():
    with pytest.raises(UserError, match=r"did you mean 'scrub'.*package\.module\.function"):
        methods.get("scrubb")


@pytest.mark.parametrize(
    "name", ["no_such_package.method", "raybench.methods.no_such", "raybench.methods.scrub.absent"]
)
def test_a_function_that_cannot_be_imported_is_refused_with_the_reason(name):
    with pytest.raises(UserError, match=r"cannot import method .* \(is its folder on PYTHONPATH"):
        methods.get(name)


def test_the_error_of_an_undecorated_function_names_the_decorator():
    with pytest.raises(UserError, match="is not a method: decorate it with @method"):
        methods.get("os.path.join")
    with pytest.raises(UserError, match="is not a metric: decorate it with @metric"):
        metric_rows.get_metric("raybench.methods.scrub.scrub")


@pytest.fixture
def current_folder(tmp_path, monkeypatch):
    """A folder of user-defined modules, of which one has the name of an installed module."""
    (tmp_path / "user_named_here.py").write_text("import user_sibling\n\n\ndef build(num_classes): ...\n")
    (tmp_path / "user_sibling.py").write_text("")
    for name in ("yaml", "user_never_named"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.setenv(registry.MODULES, str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("user_named_here", "user_sibling"):
        sys.modules.pop(name, None)


def test_the_current_folder_is_searched_last_and_only_for_a_named_module(current_folder):
    with pytest.raises(UserError, match=r"cannot import model 'user_missing\.build'"):
        registry.imported("model", "user_missing.build")
    assert str(current_folder) not in sys.path
    assert registry.imported("model", "user_named_here.build").__name__ == "build"
    assert sys.path[-1] == str(current_folder)


def test_a_file_with_the_name_of_an_installed_module_never_runs(current_folder):
    with pytest.raises(UserError, match=r"an installed module is called 'yaml' too, so .*yaml\.py' is not imported"):
        registry.imported("model", "yaml.build")
    assert not (current_folder / "ran").exists()


@pytest.mark.parametrize("line", ["raise SystemExit(3)", "1 / 0", "def"])
def test_a_module_that_fails_when_it_is_imported_is_refused(current_folder, line):
    (current_folder / "user_named_here.py").write_text(line)
    with pytest.raises(UserError, match=r"cannot import model 'user_named_here\.build': "):
        registry.imported("model", "user_named_here.build")
