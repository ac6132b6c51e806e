"""`cluster.yaml` passes Ray's own offline validation and names the tested versions."""

import copy
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def check(config: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepare_config(copy.deepcopy(config)))


def test_the_file_passes_the_schema_and_the_validation_of_ray(config: dict[str, Any]) -> None:
    check(config)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("max_worker",), 4),
        (("docker", "imag"), "rayproject/ray"),
        (("available_node_types", "gpu", "resources"), {"GPU": 0.5}),
        (("available_node_types", "gpu", "min_workers"), 9),
        (("head_node_type",), "heads"),
    ],
)
def test_the_validation_rejects_a_broken_file(config: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        check(config)


def test_an_idle_cluster_consists_of_the_head_node(config: dict[str, Any]) -> None:
    workers = {name: node for name, node in config["available_node_types"].items() if name != config["head_node_type"]}
    prepared = prepare_config(copy.deepcopy(config))["available_node_types"]
    assert workers
    assert all(prepared[name]["min_workers"] == 0 and node["max_workers"] > 0 for name, node in workers.items())


def test_the_docker_image_has_the_tested_versions_of_ray_and_python(config: dict[str, Any]) -> None:
    tag = re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)-py(\d)(\d+)-gpu", config["docker"]["image"])
    assert tag is not None
    version, python = tag[1], f"{tag[2]}.{tag[3]}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (allowed,) = (d for d in project["dependencies"] if re.match(r"ray\b", d))
    assert Version(version) in SpecifierSet(allowed.partition("]")[2])
    assert Version(python) in SpecifierSet(project["requires-python"])
    pinned = re.search(r"^ray(?:\[.*\])?==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert pinned[1] == version


def test_every_file_the_setup_installs_from_exists(config: dict[str, Any]) -> None:
    mounted = {remote.rsplit("/", 1)[-1] for remote in config["file_mounts"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"pyproject.toml", "constraints.txt", "raybench", project["readme"], *project["license-files"]} == mounted
    assert all((ROOT / local).exists() for local in config["file_mounts"].values())
