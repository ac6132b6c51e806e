"""The commits in the manifest: that of raybench's own source tree, and that of the user's folder."""

import subprocess

import pytest

import raybench
from raybench.pipeline import manifest
from raybench.report.versions import code_versions


def git(folder, *words):
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(folder), *names, *words], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a user's repository with a virtual environment in it, in which raybench is installed."""
    package = tmp_path / "venv" / "raybench"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "methods.py").write_text("x = 1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", "methods.py")
    git(tmp_path, "commit", "-m", "first")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAYBENCH_GIT_COMMIT", raising=False)
    monkeypatch.setattr(raybench, "__file__", str(package / "__init__.py"))
    return tmp_path


def test_an_installed_raybench_has_no_commit_and_the_project_has_its_own(project):
    assert manifest.raybench_commit() is None
    assert len(manifest.commit()) == 40


def test_a_source_tree_of_raybench_has_its_own_commit_wherever_one_stands(project, monkeypatch, tmp_path_factory):
    git(project, "add", "venv")
    git(project, "commit", "-m", "second")
    own = manifest.commit(project)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert manifest.raybench_commit() == own
    assert manifest.commit() is None


def test_the_report_names_both_only_where_they_differ():
    both = {"raybench": "0.1", "raybench_commit": "abc", "project_commit": "def"}
    assert code_versions(both) == "raybench 0.1, commit abc; project folder at commit def"
    assert code_versions({**both, "project_commit": "abc"}) == "raybench 0.1, commit abc"
    assert code_versions({"raybench": "0.1"}) == "raybench 0.1"
