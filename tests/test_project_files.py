"""Metadata of the project agrees: citation, changelog, pyproject.toml, constraints.txt, pre-commit hooks."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import raybench

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(text) for text in (*PROJECT["dependencies"], *(t for e in EXTRAS.values() for t in e))]


def test_the_citation_file_has_the_required_fields_and_the_facts_of_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["type"] == "software"
    assert all(set(author) == {"name"} for author in citation["authors"])
    assert (citation["title"], citation["version"]) == (PROJECT["name"], PROJECT["version"])
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]


def test_the_changelog_starts_with_unreleased_changes_and_lists_this_version():
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert PROJECT["version"] in versions


def test_type_information_is_packaged():
    data = PYPROJECT["tool"]["setuptools"]["package-data"]["raybench"]
    assert "py.typed" in data
    assert (Path(raybench.__file__).parent / "py.typed").is_file()
    assert all(list(Path(raybench.__file__).parent.glob(pattern)) for pattern in data)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_requirement_is_pinned_to_a_version_it_allows(requirement):
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    name = canonicalize_name(requirement.name)
    assert name == PROJECT["name"] or requirement.specifier.contains(pins[name])


def test_pre_commit_hooks_come_from_the_environment():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert {"ruff-check", "ruff-format", "mypy"} <= {hook["id"] for hook in hooks}
