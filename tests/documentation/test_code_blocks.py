"""Every code block of README.md and docs/ runs, or is checked in the way that a table of this file states.

The blocks of a page run in order, in a project folder of the page: `experiments/` of the repository, and a finished
run called quickstart, which is tiny. A block whose first line is a comment with a file name is also written to that
file. YAML is a complete experiment, or a part of one that is merged into the quickstart.
"""

import contextlib
import glob
import importlib
import io
import os
import re
import shutil
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
import ray.scripts.scripts
import torch
import typer
import yaml
from blocks import PAGES, ROOT, Block, blocks, commands, inline_commands
from safetensors.torch import save_file
from torch.utils.data import Subset, TensorDataset

from raybench import data, models
from raybench.cli import app, main
from raybench.config.reading import load_experiment
from raybench.registry import MODULES

# commands that are not run: their arguments and files are checked instead
CHECKED_ONLY = {
    "raybench run": "takes minutes; run below for what is in the store, and in tests/journeys",
    "raybench smoke": "takes minutes; run in tests/journeys/test_smoke.py",
    "raybench submit": "needs a cluster; run in tests/distributed/test_submit.py",
    "python -m raybench.example": "trains a model; run in tests/journeys/test_bring_your_own.py",
    "raybench check experiments/mufac/table_1_released.yaml": "needs images behind a registration",
    "raybench check experiments/bring_your_own.yaml": "needs a trained model; run in tests/journeys",
    "raybench export bring_your_own": "needs that run; run in tests/journeys",
    "raybench check experiments/audit_checkpoints.yaml": "needs 13 models; run in tests/journeys",
    "raybench export audit_checkpoints": "needs that run; run in tests/journeys",
    "raybench certify quickstart": "needs 5 retrained models; run in tests/report/test_filed_evidence.py",
    "raybench verify R-2026-17": "needs that folder; run in tests/report/test_filed_evidence.py",
    "ray": "needs a cluster",
    "tensorboard": "is a server",
    "docker": "builds an image; tests/test_rayjob_manifest.py compares its files",
    "sed": "edits a file of the repository",
    "kubectl": "needs a cluster; tests/test_rayjob_manifest.py checks the file",
    "source": "activates an environment",
    "sbatch": "needs a cluster; run with stand-ins in tests/test_slurm_script.py",
    "raybench check experiments/imagenet_class.yaml": "needs ImageNet; see tests/scenario/test_large_folders.py",
    "jq": "a program of its own; tests/test_event_stream.py reads the events",
    "mkdocs": "builds the site; the documentation job does",
    "pip": "installs packages",
    "git": "needs the network",
    "aws": "needs an account, and the AWS command line",
    "pytest": "would run this test",
}
# blocks that are not run here, by page, and where they are run
ELSEWHERE = {
    "docs/python-api.md": "tests/api/test_documentation.py",
    "docs/experiment.md": "tests/docgen/test_experiment_page.py",
}
TINY_RUN = ["run", "experiments/quickstart.yaml", "--quiet"]


@dataclass
class Project:
    """The folder of a page, and the names that its Python blocks share."""

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)


def raybench_main(*words: str) -> str:
    """Call the command line in this process; return its output, or fail with it."""
    output, code = io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        patch.setattr(sys, "argv", ["raybench", *words])
        patch.setenv(MODULES, os.getcwd())
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    assert code == 0, f"raybench {' '.join(words)}\n{output.getvalue()}"
    return output.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tables_folder, tiny) -> Path:
    """Return a project with a finished run, read from the store of the tiny experiment: nothing is trained."""
    folder = tmp_path_factory.mktemp("documentation")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    shutil.copytree(tables_folder.parents[2], folder / "runs")
    quickstart = yaml.safe_dump(tiny(name="quickstart"), sort_keys=False)
    (folder / "experiments" / "quickstart.yaml").write_text(quickstart)
    with contextlib.chdir(folder):
        raybench_main(*TINY_RUN)
    files = ["original.pt", "seed0.pt", "seed1.safetensors", *(f"retrained{number}.pt" for number in range(5))]
    for file, model in zip(files, tiny_models(), strict=True):
        if file.endswith(".pt"):
            torch.save(model.state_dict(), folder / file)
        else:
            save_file(model.state_dict(), folder / file)
    return folder


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    """Return what examples take for granted: models with random weights and data sets, by their names on the pages."""
    torch.manual_seed(0)
    digits = data.load("digits")
    x = torch.tensor(digits.pixels[:200, :, :, 0] / 255.0, dtype=torch.float32)[:, None]
    content = TensorDataset(x, torch.tensor(digits.labels[:200]))
    network = tiny_models()
    parts = {"forget": range(20), "retain": range(20, 100), "test": range(100, 150), "unseen": range(150, 200)}
    sets = {name: Subset(content, list(rows)) for name, rows in parts.items()}
    return {
        **{f"{name}_set": part for name, part in sets.items()},
        **{name: sets[name] for name in ("forget", "retain")},
        "model": network[0],
        "network": network[0],
        "original": network[0],
        "unlearned": network[1],
        "retrained": network[2:5],
    }


def tiny_models() -> list[torch.nn.Module]:
    return [models.build("cnn", num_classes=10, channels=1, width=2, seed=seed) for seed in range(8)]


@pytest.fixture(scope="module", params=PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def page(request) -> Path:
    return request.param


@pytest.fixture
def project(page, finished, given, tmp_path, monkeypatch):
    """Return the project of one page, as the current folder."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True, copy_function=os.link)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Project(tmp_path, dict(given))
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


def test_every_block_of_the_page_runs(page, project):
    name = page.relative_to(ROOT).as_posix()
    for block in blocks(page):
        if block.name:
            write(block, project)
    for block in blocks(page):
        if name in ELSEWHERE and block.language in ("python", "yaml"):
            continue
        try:
            RUNNERS[block.language](block, project)
        except Exception as error:
            error.add_note(f"in the block at {block.place}")
            raise


def write(block: Block, project: Project) -> None:
    path = project.folder / str(block.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(block.text)
    importlib.invalidate_caches()


def run_python(block: Block, project: Project) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(block.text, block.place, "exec"), project.names)


def run_sql(block: Block, project: Project) -> None:
    import duckdb

    assert duckdb.sql(block.text).fetchall()


def check_yaml(block: Block, project: Project) -> None:
    content = yaml.safe_load(block.text)
    if content is None:  # only comments
        return
    if "extends" not in content and not {"data", "model", "methods", "forget"} <= set(content):
        content = {"extends": "quickstart.yaml", "name": "fragment", **content}
    file = project.folder / "experiments" / "of_the_page.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    load_experiment(file)


def run_shell(block: Block, project: Project) -> None:
    for words in commands(block):
        run_command(words)


RUNNERS = {"python": run_python, "sql": run_sql, "yaml": check_yaml, "bash": run_shell}


def run_command(words: list[str]) -> None:
    """Run a command, or check its arguments and the files that it names."""
    text = " ".join(words)
    checked_only = any(text == start or text.startswith(f"{start} ") for start in CHECKED_ONLY)
    if words[0] == "raybench":
        check_arguments(words[1:])
        if not checked_only:
            raybench_main(*words[1:])
        elif "--method" in words:
            check_method(words[2], words[words.index("--method") + 1])
    elif words[0] == "ray":
        check_ray(words[1:])
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]), text
        assert checked_only or words[2].startswith(("raybench.", "venv")), text
    elif words[0] == "pip":
        extras = re.findall(r"\.\[(\w+)\]", text)
        assert set(extras) <= set(project_metadata()["optional-dependencies"]), text
    elif words[0] == "git":
        assert project_metadata()["urls"]["Repository"] in words, text
    elif words[0] == "tensorboard":
        folder = words[words.index("--logdir") + 1].replace("FINGERPRINT", "*")
        assert glob.glob(f"{folder}/" if folder.count("/") < 2 else f"{Path(folder).parent}/"), text
    else:
        assert checked_only or words[0] in ("cd", "export", "source"), f"{text}: run it, or say why not in CHECKED_ONLY"


def check_arguments(words: list[str]) -> None:
    """Check the words after `raybench` as the command line does before it calls the command; load experiment files."""
    group: Any = typer.main.get_command(app)
    with group.make_context("raybench", list(words)) as context:
        name, command, rest = group.resolve_command(context, list(words))
        assert command is not None
        with command.make_context(name, rest, parent=context) as parsed:
            file = parsed.params.get("file")
            if file is not None and not re.search(r"[A-Z]{3}", str(file)):  # FILE and NAME are placeholders
                load_experiment(file, parsed.params.get("set_") or ())


def check_method(run: str, method: str) -> None:
    """Check that the experiment of this name has the method, or that it is a kind of reference model."""
    content = yaml.safe_load((ROOT / "experiments" / f"{run}.yaml").read_text())
    assert method in {*content["methods"], "original", "retrained"}, f"{run} has no method {method}"


def check_ray(words: list[str]) -> None:
    """Check the words after `ray` with Ray's own parser, down to the last subcommand."""
    command: click.Command = ray.scripts.scripts.cli
    words = [str(ROOT / word) if word == "cluster.yaml" else word for word in words]
    context = None
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(click.Context(command, parent=context), words)
    command.make_context(str(name), words)


def project_metadata() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix(), scope="function")
def test_commands_in_the_prose_have_valid_arguments(page):
    for place, words in inline_commands(page):
        if len(words) == 2 and words[1] in {command.name or command.callback.__name__ for command in COMMANDS}:
            continue  # the name of a command
        try:
            check_arguments(words[1:])
        except Exception as error:
            error.add_note(f"at {place}")
            raise


COMMANDS = app.registered_commands


def test_the_tables_name_commands_that_exist_and_tests_that_run_the_blocks():
    names = {command.name or command.callback.__name__ for command in COMMANDS}
    assert {start.split()[1] for start in CHECKED_ONLY if start.startswith("raybench ")} <= names
    used = " ".join(" ".join(words) for page in PAGES for block in blocks(page) for words in shell(block))
    assert [start for start in CHECKED_ONLY if start not in used and start not in ("mkdocs",)] == []
    for path, test in ELSEWHERE.items():
        assert Path(path).name.split(".")[0].replace("-", "_") in (ROOT / test).read_text().replace("-", "_")


def shell(block: Block) -> list[list[str]]:
    return commands(block) if block.language == "bash" else []
