"""The command line: its commands, their help texts, and where a run stops."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from typer.testing import CliRunner

import raybench
from raybench.cli import app, main
from raybench.commands import options
from raybench.config.reading import load_experiment
from raybench.pipeline import run as pipeline
from raybench.storage.store import Store

COMMANDS = {"run", "check", "init", "list", "report", "export", "pack", "smoke", "submit"}
COMMANDS |= {"certify", "verify", "compare", "leaderboard", "runs"}


def invoke(*words: str):
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Return an experiment file whose run is replaced by a recorder of its arguments."""
    file = tmp_path / "small.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "name": "small",
                "data": {"dataset": "digits", "sizes": {"train": 200, "calibration": 60}},
                "forget": {"rule": "random", "count": 20},
                "model": {"name": "cnn"},
                "methods": {"finetune": {}},
            }
        )
    )
    calls = []
    monkeypatch.setattr(pipeline, "run", lambda *args, **kwargs: calls.append((args, kwargs)))
    return file, calls


def test_the_help_lists_every_command():
    assert {command.name or command.callback.__name__ for command in app.registered_commands} == COMMANDS
    result = invoke("--help")
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself_and_every_option_that_it_takes(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    rows = [line.strip(" │") for line in result.output.splitlines() if line.strip(" │").startswith("--")]
    assert rows
    assert all(len(row.split("  ")) > 1 for row in rows), rows


@pytest.mark.parametrize("command", ["train", "sweep", "evaluate"])
def test_a_stage_is_no_command(command):
    result = invoke(command, "small.yaml")
    assert result.exit_code == 2
    assert "No such command" in result.output


def test_until_takes_the_stages_of_the_pipeline():
    assert get_args(get_args(options.Until)[0]) == get_args(pipeline.Until)


@pytest.mark.parametrize("until", get_args(pipeline.Until))
def test_until_is_where_the_run_stops(experiment, tmp_path, until):
    file, calls = experiment
    result = invoke("run", str(file), "--until", until, "--storage", str(tmp_path), "--retry-failed")
    assert result.exit_code == 0, result.output
    ((args, kwargs),) = calls
    assert args[0] == load_experiment(file)[0]
    assert isinstance(args[2], Store)
    assert kwargs == {"address": None, "until": until, "retry_failed": True, "dashboard": False}


def test_a_run_goes_to_its_report_by_default(experiment):
    file, calls = experiment
    assert invoke("run", str(file), "--set", "train.epochs=7").exit_code == 0
    ((args, kwargs),) = calls
    assert args[0].train.epochs == 7
    assert kwargs["until"] == "report"


def test_an_unknown_stage_is_refused_with_the_stages(experiment):
    file, calls = experiment
    result = invoke("run", str(file), "--until", "trian")
    assert result.exit_code == 2
    assert "train" in result.output
    assert "report" in result.output
    assert calls == []


def test_ctrl_c_exits_with_130_and_says_how_to_resume(experiment, monkeypatch):
    file, _ = experiment

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupt)
    result = invoke("run", str(file))
    assert result.exit_code == 130
    assert "run the same command again to resume" in result.stderr


@pytest.mark.slow
def test_files_in_the_current_folder_replace_no_installed_module(tmp_path):
    for name in ("yaml", "torch", "rich", "json", "typer"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the current folder ran')")
    environment = {**os.environ, "PYTHONPATH": str(Path(raybench.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "raybench", "list", "methods"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "finetune" in done.stdout


@pytest.mark.parametrize("word", ["report", "export"])
def test_the_name_of_a_run_cannot_lead_out_of_the_storage(word, monkeypatch, capsys, tmp_path):
    options = ["--method", "finetune", "--out", str(tmp_path / "x.pt")] if word == "export" else []
    monkeypatch.setattr(sys, "argv", ["raybench", word, "../elsewhere", *options, "--storage", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "unknown run" in capsys.readouterr().err
