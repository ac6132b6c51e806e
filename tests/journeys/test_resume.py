"""Interrupt a run in any stage; the same command continues and ends in the same tables."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

from .conftest import Command, Completed, Interrupts, Process, run_folder, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
CLOCKS = ["seconds"]
NAMES = ("splits", "models", "trials", "search", "samples", "metrics", "memory", "exposure", "leaderboard")
# fewer processes to start each time; on more than two cores there are several workers all the same
ONE_WORKER = ("--set", "resources.cpus_per_model=2", "--set", "resources.cpus_per_trial=2")


def tables(storage: Path) -> dict[str, pd.DataFrame]:
    folder = run_folder(storage, "small") / "tables"
    contents = {path.stem: pq.read_table(path).to_pandas() for path in sorted(folder.glob("*.parquet"))}
    contents["predictions"] = pq.read_table(folder / "predictions").to_pandas()
    return {name: table.drop(columns=[c for c in CLOCKS if c in table]) for name, table in contents.items()}


def assert_same(storage: Path, other: Path) -> None:
    left, right = tables(storage), tables(other)
    assert set(left) == {*NAMES, "predictions"}
    for name in left:
        pd.testing.assert_frame_equal(left[name], right[name], check_exact=True, obj=name)


@dataclass
class Interrupted:
    """One storage on which the driver was interrupted four times, and what was observed each time."""

    storage: Path
    lost: list[set[str]] = field(default_factory=list)  # finished files that were gone after each kill
    second_run: Completed | None = None
    first_run: tuple[int, bool] | None = None  # the id of the process that runs it, and whether it ran afterwards
    ctrl_c: Completed | None = None


@pytest.fixture(scope="module")
def interrupted(
    start: Callable[..., Process], raybench: Command, interrupts: Interrupts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Interrupted]:
    """Press Ctrl-C in a training, then kill the driver in a training, in the sweep and in the predictions."""
    storage = tmp_path_factory.mktemp("interrupted")
    result = Interrupted(storage)
    orphans: list[psutil.Process] = []
    words = ("run", "small.yaml", "--storage", str(storage), *ONE_WORKER)

    reached = interrupts.ask("wait", storage, "checkpoints/*.pt", 1)
    process = start(*words)
    wait_for(reached, process)
    result.second_run = raybench(*words)
    result.first_run = psutil.Process(process.pid).children()[0].pid, process.poll() is None
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    result.ctrl_c = Completed(process.returncode, printed, "")
    interrupts.clear()

    kept = finished_files(storage)
    for pattern, number in (("models/*.json", 1), ("trials/*.json", 2), ("predictions/*/*.parquet", 3)):
        reached = interrupts.ask("wait", storage, pattern, number)
        process = start(*words)
        wait_for(reached, process)
        orphans += psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)  # the driver alone: its Ray must notice by itself
        process.wait(timeout=30)
        interrupts.clear()
        now = finished_files(storage)
        result.lost.append({name for name in kept - now if "/checkpoints/" not in name})
        kept = now
        for path in (storage / "artifacts").rglob("*.parquet"):
            pq.read_table(path)  # complete, or not there
    yield result
    for orphan in orphans:  # Ray's dashboard agents outlive their driver by a minute
        with suppress(psutil.NoSuchProcess):
            orphan.kill()


def finished_files(storage: Path) -> set[str]:
    files = (path for path in (storage / "artifacts").rglob("*") if path.is_file())
    return {str(path) for path in files if path.suffix != ".partial"}


def test_ctrl_c_stops_cleanly_and_says_how_to_continue(interrupted: Interrupted) -> None:
    done = interrupted.ctrl_c
    assert done is not None
    assert done.code == 130
    assert "run the same command again to resume" in done.stdout
    assert "Traceback" not in done.stdout


def test_two_runs_of_one_name_on_one_storage_do_not_mix(interrupted: Interrupted) -> None:
    assert interrupted.second_run is not None
    assert interrupted.first_run is not None
    pid, undisturbed = interrupted.first_run
    assert interrupted.second_run.code == 2
    assert f"process {pid}" in interrupted.second_run.stderr
    assert undisturbed


def test_the_death_of_ray_ends_within_seconds_in_one_sentence(
    start: Callable[..., Process], interrupts: Interrupts, tmp_path: Path
) -> None:
    reached = interrupts.ask("wait", tmp_path, "checkpoints/*.pt", 1)
    process = start("run", "small.yaml", "--storage", str(tmp_path), *ONE_WORKER)
    wait_for(reached, process)
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.name() == "gcs_server":
            child.kill()
    started = time.monotonic()
    printed, _ = process.communicate(timeout=60)
    interrupts.clear()
    assert time.monotonic() - started < 20  # Ray itself says nothing for a minute
    assert process.returncode == 3
    assert "Traceback" not in printed
    sentence, log = [line for line in printed.splitlines() if line.startswith("raybench: ")]
    assert sentence.startswith("raybench: Ray's control process (GCS) died during the run. Finished work is kept")
    # what Ray wrote, and a traceback unless Ray's core ended the driver first
    assert Path(log.removeprefix("raybench: details: ")).read_text()


def test_a_killed_driver_loses_no_finished_work(interrupted: Interrupted) -> None:
    assert interrupted.lost == [set(), set(), set()]


def test_a_driver_killed_in_training_sweep_and_predictions_ends_in_the_tables_of_an_uninterrupted_run(
    interrupted: Interrupted, finished: Path, succeed: Callable[..., str]
) -> None:
    succeed("run", "small.yaml", "--storage", str(interrupted.storage))
    assert_same(interrupted.storage, finished)
    assert not list((interrupted.storage / ".ray").iterdir())  # what Tune of the killed drivers left


def test_workers_killed_in_training_sweep_and_evaluation_cost_nothing_but_time(
    finished: Path, succeed: Callable[..., str], interrupts: Interrupts, tmp_path: Path
) -> None:
    moments = (("checkpoints/*.pt", 1), ("trials/*.json", 1), ("predictions/*/*.parquet", 1))
    killed = [interrupts.ask("die", tmp_path, pattern, number) for pattern, number in moments]
    succeed("run", "small.yaml", "--storage", str(tmp_path))
    assert all(path.exists() for path in killed)
    assert_same(tmp_path, finished)
