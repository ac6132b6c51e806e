"""`clusters/rayjob.yaml` has the fields of KubeRay's types, versions that fit together, and resources that Ray can use.

The fields are those of ray.io/v1 in KubeRay 1.3; for pods and the other kinds, those of Kubernetes that we use.
"""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from raybench.cli import app
from raybench.config.reading import load_experiment
from raybench.distributed.resources import needs, unmet

ROOT = Path(__file__).parents[1]
TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
QUANTITY = {"type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?$"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def closed(required: str = "", **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def listed(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


AMOUNTS = {"type": "object", "additionalProperties": QUANTITY}
RESOURCES = closed(requests=AMOUNTS, limits=AMOUNTS)
METADATA = closed(name=TEXT, labels=TEXTS)
CONTAINER = closed(
    "name image resources",
    name=TEXT,
    image=TEXT,
    command=listed(TEXT),
    ports=listed(closed("containerPort", containerPort=COUNT)),
    resources=RESOURCES,
    volumeMounts=listed(
        closed("name mountPath", name=TEXT, mountPath=TEXT, subPath=TEXT, readOnly={"type": "boolean"})
    ),
)
POD = closed(
    "spec",
    metadata=METADATA,
    spec=closed(
        "containers",
        restartPolicy={"enum": ["Always", "Never", "OnFailure"]},
        securityContext=closed(runAsUser=COUNT, fsGroup=COUNT),
        tolerations=listed(closed(key=TEXT, operator={"enum": ["Exists", "Equal"]}, effect=TEXT)),
        containers=listed(CONTAINER),
        volumes=listed(
            closed(
                "name",
                name=TEXT,
                persistentVolumeClaim=closed("claimName", claimName=TEXT, readOnly={"type": "boolean"}),
                emptyDir=closed(sizeLimit=QUANTITY, medium=TEXT),
            )
        ),
    ),
)
GROUP = {"rayStartParams": TEXTS, "template": POD}
CLUSTER = closed(
    "headGroupSpec",
    rayVersion=TEXT,
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=closed(
        idleTimeoutSeconds=COUNT, upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]}, resources=RESOURCES
    ),
    headGroupSpec=closed("rayStartParams template", serviceType=TEXT, **GROUP),
    workerGroupSpecs=listed(
        closed(
            "groupName minReplicas maxReplicas rayStartParams template",
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            numOfHosts=COUNT,
            **GROUP,
        )
    ),
)
RAY_JOB = closed(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=COUNT,
    submitterPodTemplate=POD,
    rayClusterSpec=CLUSTER,
)
LABELS = closed("matchLabels", matchLabels=TEXTS)
SPECS = {
    ("v1", "PersistentVolumeClaim"): closed(
        "accessModes resources", accessModes=listed(TEXT), resources=RESOURCES, storageClassName=TEXT
    ),
    ("ray.io/v1", "RayJob"): RAY_JOB,
    ("apps/v1", "Deployment"): closed("selector template", replicas=COUNT, selector=LABELS, template=POD),
    ("v1", "Service"): closed("ports", selector=TEXTS, ports=listed(closed("port", port=COUNT))),
}


def check(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        spec = SPECS[document["apiVersion"], document["kind"]]
        jsonschema.validate(document, closed("metadata spec", apiVersion=TEXT, kind=TEXT, metadata=METADATA, spec=spec))


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    loaded = list(yaml.safe_load_all((ROOT / "clusters" / "rayjob.yaml").read_text()))
    assert all(isinstance(document, dict) for document in loaded)
    return loaded


@pytest.fixture
def job(documents: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = next(document["spec"] for document in documents if document["kind"] == "RayJob")
    return spec


def pods(documents: list[dict[str, Any]], job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    templates = [group["template"] for group in groups] + [job["submitterPodTemplate"]]
    return [template["spec"] for template in [*templates, documents[2]["spec"]["template"]]]


def test_every_field_is_one_of_its_kind(documents: list[dict[str, Any]]) -> None:
    check(documents)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("backofLimit",), 3),
        (("backoffLimit",), "three"),
        (("submissionMode",), "Job"),
        (("rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),  # numbers are refused: quote them
        (("rayClusterSpec", "workerGroupSpecs", 0, "maxReplica"), 4),
        (("rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "imagePull"), "Always"),
    ],
)
def test_a_broken_manifest_is_refused(documents: list[dict[str, Any]], path: tuple[Any, ...], value: object) -> None:
    inner: Any = next(document["spec"] for document in documents if document["kind"] == "RayJob")
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(documents)


def test_all_pods_use_one_image_whose_ray_is_the_tested_one(
    documents: list[dict[str, Any]], job: dict[str, Any]
) -> None:
    (image,) = {container["image"] for pod in pods(documents, job) for container in pod["containers"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert image.endswith(f"raybench:{project['version']}")
    dockerfile = (ROOT / "clusters" / "Dockerfile").read_text()
    base = re.search(r"^FROM (\S+)$", dockerfile, re.MULTILINE)
    assert base is not None
    assert base[1] == yaml.safe_load((ROOT / "cluster.yaml").read_text())["docker"]["image"]
    assert job["rayClusterSpec"]["rayVersion"] == base[1].split(":")[1].split("-")[0]
    copied = [word for line in re.findall(r"^COPY \S+ (.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()]
    assert {"pyproject.toml", "constraints.txt", "raybench", "experiments", project["readme"]} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_volumes_that_are_mounted_exist_and_every_pod_of_ray_reaches_the_storage(
    documents: list[dict[str, Any]], job: dict[str, Any]
) -> None:
    assert documents[0]["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(documents, job):
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= set(volumes)
    cluster = job["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        mounts = group["template"]["spec"]["containers"][0]["volumeMounts"]
        assert "/mnt/raybench" in {mount["mountPath"] for mount in mounts}
        limits = group["template"]["spec"]["containers"][0]["resources"]
        assert limits["requests"] == limits["limits"]  # Ray schedules by the limits


def test_the_entrypoint_is_a_valid_command_and_one_pod_of_a_group_can_run_a_trial(job: dict[str, Any]) -> None:
    words = shlex.split(job["entrypoint"])
    assert words[:2] == ["raybench", "run"]
    assert CliRunner().invoke(app, [*words[1:], "--help"]).exit_code == 0
    storage = words[words.index("--storage") + 1]
    assert storage.startswith("/mnt/raybench/")
    file = ROOT / words[2].removeprefix("/home/ray/raybench/")  # where the image has it
    experiment, _ = load_experiment(file, [words[i + 1] for i, word in enumerate(words) if word == "--set"])
    nodes = []
    for group in job["rayClusterSpec"]["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        nodes += [{"CPU": limits["cpu"], "GPU": limits.get("nvidia.com/gpu", 0)}] * group["maxReplicas"]
    assert unmet(needs(experiment), nodes, "the cluster") is None
    assert job["shutdownAfterJobFinishes"]
    assert job["backoffLimit"] >= 1
