"""The manifest of a run: versions, machine, commit, seeds and the experiment's text, written before the work starts."""

import hashlib
import os
import platform
import socket
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import raybench
from raybench import __version__, methods
from raybench.config.schema import Experiment
from raybench.jobs.seeds import first_final_seed, original_seeds, reference_seeds
from raybench.methods.framework.spec import MethodSpec
from raybench.models.checkpoints import read_file
from raybench.registry import spec_of
from raybench.scenario.run_folder import settings_by_content
from raybench.storage.tables import VERSION

PACKAGES = ("torch", "torchvision", "ray", "numpy", "scipy", "scikit-learn", "pyarrow", "optuna", "pydantic")


def manifest(experiment: Experiment, text: str, keys: dict[str, str]) -> dict[str, Any]:
    """Return the manifest as plain values."""
    checkpoints = _checkpoints(experiment)
    return {
        "raybench": __version__,
        "schema_version": VERSION,
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES},
        "host": {
            "name": socket.gethostname(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "raybench_commit": raybench_commit(),
        "project_commit": commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seeds": {
            "data": experiment.data.seed,
            "forget": (experiment.forget.model_extra or {}).get("seed"),
            "originals": original_seeds(experiment, experiment.sweep.originals),
            "retrained": experiment.train.seeds,
            "search": experiment.sweep.seed,
            "references_of_search": reference_seeds(experiment),
            "final": [first_final_seed(experiment) + i for i in range(experiment.sweep.seeds)],
        },
        "retrained_recipe": experiment.train.retrained_recipe.model_dump(),
        "sweep": experiment.sweep.model_dump()
        | {"searched": [method for method in experiment.methods if experiment.searches(method)]},
        "margin": experiment.evaluate.margin,
        "checkpoint": next(iter(checkpoints.get("original", [])), None),  # of the first original
        "checkpoints": checkpoints,
        "artifacts": keys,
        "paper": experiment.paper.model_dump() if experiment.paper else None,
        "method_notes": {name: note for name in experiment.methods if (note := _note(experiment, name))},
        "settings": settings_by_content(experiment),
        "experiment": text,
    }


def _checkpoints(experiment: Experiment) -> dict[str, list[dict[str, str]]]:
    """Return the files that the user's models were read from, with their hashes: `original`, `retrained`, methods."""
    files = {"original": experiment.model.checkpoints, "retrained": experiment.train.checkpoints}
    files |= {method: experiment.checkpoints(method) for method in experiment.methods}
    return {
        name: [{"file": path, "sha256": hashlib.sha256(read_file(path)).hexdigest()} for path in paths]
        for name, paths in files.items()
        if paths
    }


def _note(experiment: Experiment, method: str) -> str:
    """Return a method's note on its limits: where its defaults may be no better than the original model."""
    if experiment.checkpoints(method):
        return "its models are yours, and nothing was tuned here"
    note = spec_of(methods.get(experiment.function_name(method)), MethodSpec).limits
    return f"Limits: {note}" if note else ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def raybench_commit() -> str | None:
    """Return the commit of raybench's own source tree; None where it is installed as a package, whose version says all.

    A package inside the repository of a user (in its virtual environment, say) is not tracked by that repository.
    """
    package = Path(raybench.__file__).parent
    if _git(package, "ls-files", "--error-unmatch", "__init__.py"):
        return _described(package)
    return commit() if package.parent == Path.cwd() else None  # a submitted checkout of raybench


def commit(folder: Path = Path()) -> str | None:
    """Return the commit of the folder in which the run was started, with `-dirty` if it has uncommitted changes.

    A submitted job's copy of the folder has no history; the submitting side passes its commit in RAYBENCH_GIT_COMMIT.
    """
    if commit := os.environ.get("RAYBENCH_GIT_COMMIT"):
        return commit
    return _described(folder)


def _described(folder: Path) -> str | None:
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=40")


def _git(folder: Path, *words: str) -> str | None:
    """Return what git prints about a folder; None if it fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
