"""Kill the driver, a worker or a trial at any moment; the same command ends in the same tables."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
Command = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
Wait = Callable[..., None]
CLOCKS = ["seconds"]


def tables(storage: Path) -> dict[str, pd.DataFrame]:
    folder = storage / "small" / "tables"
    found = {path.stem: pq.read_table(path).to_pandas() for path in sorted(folder.glob("*.parquet"))}
    found["predictions"] = pq.read_table(folder / "predictions").to_pandas()
    return {name: table.drop(columns=[c for c in CLOCKS if c in table]) for name, table in found.items()}


def assert_same(storage: Path, other: Path) -> None:
    left, right = tables(storage), tables(other)
    assert set(left) == {"splits", "models", "trials", "predictions", "samples", "metrics", "leaderboard"}
    for name in left:
        pd.testing.assert_frame_equal(left[name], right[name], check_exact=True, obj=name)


def count(storage: Path, pattern: str) -> int:
    return len(list((storage / "artifacts").glob(pattern)))


def die(process: "subprocess.Popen[str]") -> None:
    """SIGKILL the driver alone: its Ray must notice by itself."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def test_a_driver_killed_in_training_sweep_and_predictions_ends_in_the_tables_of_an_uninterrupted_run(
    finished: Path, start: Start, raybench: Command, wait_until: Wait, tmp_path: Path
) -> None:
    words = ("run", "small.yaml", "--storage", str(tmp_path))
    moments: dict[str, Callable[[], bool]] = {
        "in a training": lambda: count(tmp_path, "checkpoints/*.pt") > 0 or count(tmp_path, "models/*.json") > 0,
        "in the sweep": lambda: count(tmp_path, "trials/*.json") >= 2,
        "in the predictions": lambda: count(tmp_path, "predictions/*/*.parquet") >= 3,
    }
    kept: set[str] = set()
    for reached in moments.values():
        process = start(*words)
        wait_until(reached, process)
        die(process)
        now = {
            str(path) for path in (tmp_path / "artifacts").rglob("*") if path.is_file() and path.suffix != ".partial"
        }
        lost = {name for name in kept - now if "/checkpoints/" not in name}
        assert not lost, f"finished work was lost: {sorted(lost)[:3]}"
        kept = now
        for path in (tmp_path / "artifacts").rglob("*.parquet"):
            pq.read_table(path)  # whole, or not there
    done = raybench(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(tmp_path, finished)


def test_workers_killed_in_training_sweep_and_evaluation_cost_nothing_but_time(
    finished: Path, start: Start, wait_until: Wait, tmp_path: Path
) -> None:
    process = start("run", "small.yaml", "--storage", str(tmp_path))

    def kill_a_worker(*names: str) -> None:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                if any(name in " ".join(child.cmdline()) for name in names):
                    child.kill()
                    return
            except psutil.NoSuchProcess:
                continue
        raise AssertionError(f"no worker called {names} to kill")

    wait_until(lambda: count(tmp_path, "checkpoints/*.pt") > 0 or count(tmp_path, "models/*.json") > 0, process)
    kill_a_worker("ray::_train_one", "ray::IDLE")
    wait_until(lambda: count(tmp_path, "trials/*.json") >= 1, process)
    kill_a_worker("ray::ImplicitFunc", "ray::_planned", "ray::Trainable")
    wait_until(lambda: count(tmp_path, "predictions/*/*.parquet") >= 1, process)
    kill_a_worker("ray::MapWorker", "ray::_Pool")
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 0, printed
    assert_same(tmp_path, finished)


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(start: Start, wait_until: Wait, tmp_path: Path) -> None:
    process = start("run", "small.yaml", "--storage", str(tmp_path))
    wait_until(lambda: count(tmp_path, "models/*.json") > 0, process)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to resume" in printed
    assert "Traceback" not in printed


def test_two_runs_of_one_name_on_one_storage_do_not_mix(
    start: Start, raybench: Command, wait_until: Wait, tmp_path: Path
) -> None:
    process = start("run", "small.yaml", "--until", "train", "--storage", str(tmp_path))
    wait_until(lambda: (tmp_path / "small" / "manifest.json").exists(), process)
    refused = raybench("run", "small.yaml", "--storage", str(tmp_path))
    assert refused.returncode == 2
    assert f"process {process.pid}" in refused.stderr
    assert process.poll() is None  # and the first one goes on undisturbed
