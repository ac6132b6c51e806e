"""Kill a random process of a run at a random moment, run the same command again, and compare all tables. Many times.

    python benchmarks/soak.py [--rounds 50] [--first 0] [--victims gcs raylet ...] [--out soak.csv] [--short]

Each round starts a small run in a random stage (the work of earlier stages is in the storage), waits for a random
number of new artifacts or for a file that is just being written, and kills one victim:

    command   the process that the user started       driver    its child, which runs the experiment
    group     all processes of the terminal's group   worker    one that trains, predicts or scores
    raylet    Ray's node process                      gcs       Ray's control process
    agent     Ray's dashboard agent                   node      one of two nodes on the loopback interface

Then the same command runs again. A round passes if that one succeeds, all tables are bit for bit those of a run that
nobody disturbed, the terminal shows no traceback, and no process and no temporary file is left. Rounds are numbered and
seeded by their number. Everything is found in the process tree of the round's own command.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import yaml
from soak_victims import VICTIMS, is_worker, kill, left_processes, nodes, processes_of

from raybench.storage.runs import find_run
from raybench.storage.store import Store

EXPERIMENT = {
    "name": "soak",
    "data": {
        "dataset": "digits",
        "sizes": {"train": 200, "validation": 100, "calibration": 100, "test": 100, "unseen": 100},
    },
    "forget": {"rule": "random", "count": 40},
    "model": {"name": "cnn", "width": 4},
    "train": {"epochs": 3, "lr": 0.1, "batch_size": 32, "retrained_seeds": 2},
    "methods": {"finetune": {"lr": {"loguniform": [0.01, 0.1]}}, "gradient_ascent": {}, "scrub": {}},
    "sweep": {"trials": 4, "originals": 1, "seeds": 2, "finalists": 2},
    "evaluate": {"metrics": ["accuracy", "mia", "cr", "knn"], "alphas": [0.2]},
    "resources": {"cpus_per_model": 2, "cpus_per_trial": 2},  # one worker at a time: fewer processes to start
}
STAGES = {"train": "models/*.json", "sweep": "trials/*.json", "predict": "predictions/*/*.parquet", "score": "scores/*"}
CLOCKS = ["seconds"]
MOST_SECONDS = 600.0  # a command that takes longer counts as a hang; on a quiet machine it takes half a minute


@dataclass(frozen=True)
class Outcome:
    """What happened in one round."""

    round: int
    victim: str
    stage: str
    moment: str
    exit: int  # of the disturbed command; negative: ended by this signal
    seconds: float  # from the kill to the end of the command
    exit_again: int
    identical: bool
    processes: int  # left at the end of the round
    files: int
    traceback: bool
    told: str  # first sentence of the disturbed command after the kill
    left: str  # the processes, by name

    @property
    def passed(self) -> bool:
        return not (self.exit_again or self.processes or self.files or self.traceback) and self.identical

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        return (
            f"{self.round:>3} {verdict}  {self.victim:<8} {self.stage:<8} {self.moment:<16} exit {self.exit:>3} after "
            f"{self.seconds:5.1f} s, again {self.exit_again}, {'identical' if self.identical else 'DIFFERENT'}, left "
            f"{self.processes} processes {self.files} files{', TRACEBACK' if self.traceback else ''}: "
            f"{self.told[:150]} {self.left}"
        )


class Soak:
    """A folder with the storage before each stage, the tables of the undisturbed run, and what rounds need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "soak.yaml"
        if not (folder / "score").exists():
            self.prepare()
        self.tables = tables(folder / "done")
        self.counts = {}
        for stage, pattern in STAGES.items():
            done, before = (len(list((folder / name / "artifacts").glob(pattern))) for name in ("done", stage))
            self.counts[stage] = done - before

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(yaml.safe_dump(EXPERIMENT))
        whole = self.folder / "whole"
        for stage, until in (("sweep", "train"), ("predict", "sweep"), ("done", "report")):
            self.succeed(whole, "--until", until)
            shutil.copytree(whole, self.folder / stage)
        (self.folder / "train").mkdir()
        without = shutil.ignore_patterns("scores", "tables")
        shutil.copytree(self.folder / "done", self.folder / "score", ignore=without)

    def succeed(self, storage: Path, *words: str) -> None:
        command = self.start(storage, self.temporary("reference"), *words)
        printed, _ = command.communicate(timeout=2 * MOST_SECONDS)
        assert command.returncode == 0, printed

    def temporary(self, name: str) -> Path:
        path = self.folder / "t" / name  # short: Ray's sockets lie in it
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(
        self, storage: Path, temporary: Path, *words: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "raybench", "run", str(self.file), "--storage", str(storage), *words],
            cwd=self.folder,
            env=os.environ | {"TMPDIR": str(temporary)} | dict(variables or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def round(self, number: int, victim: str) -> Outcome:
        """Disturb a run, run it again, compare, and remove everything."""
        chance = random.Random(f"soak {number}")
        stage = chance.choice([*STAGES])
        wanted, writing = chance.randrange(max(1, self.counts[stage])), chance.random() < 0.3
        temporary, storage = self.temporary(str(number)), self.folder / f"round-{number}"
        shutil.copytree(self.folder / stage, storage)
        with nodes(temporary, victim == "node") as cluster:
            command = self.start(storage, temporary, *cluster.options, variables=cluster.variables)
            already = len(list((storage / "artifacts").glob(STAGES[stage])))
            wait(command, storage, STAGES[stage], already + wanted, temporary, writing=writing)
            time.sleep(0 if writing else chance.random() / 2)
            killed = kill(victim, command, cluster.second)
            started = time.monotonic()
            printed = finish(command)
            seconds = time.monotonic() - started
            again = self.start(storage, temporary, *cluster.options, variables=cluster.variables)
            printed_again = finish(again)
        left = left_processes(temporary)
        told = next((line for line in printed.splitlines() if line.startswith("raybench: ")), "")
        outcome = Outcome(
            number,
            victim if killed else f"({victim})",
            stage,
            f"{wanted} of {self.counts[stage]}{' writing' if writing else ''}",
            command.returncode,
            seconds,
            again.returncode,
            again.returncode == 0 and same(self.tables, tables(storage)),
            len(left),
            left_files(temporary, storage),
            "Traceback" in printed + printed_again,
            told.removeprefix("raybench: ").replace(str(temporary), "$TMPDIR"),
            "; ".join(left),
        )
        if outcome.passed:
            shutil.rmtree(storage)
            shutil.rmtree(temporary)
        else:
            (storage / "first.txt").write_text(printed)
            (storage / "again.txt").write_text(printed_again)
        return outcome


def finish(command: subprocess.Popen[str]) -> str:
    """Return what a command prints until its end; kill it if it hangs."""
    try:
        printed, _ = command.communicate(timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, signal.SIGKILL)
        printed, _ = command.communicate()
        printed += "\nraybench: it hangs\n"
    return printed


def wait(
    command: subprocess.Popen[str], storage: Path, pattern: str, count: int, temporary: Path, *, writing: bool
) -> None:
    """Wait until so many artifacts exist and, if `writing`, until another file is being written, or until the end."""
    while command.poll() is None and len(list((storage / "artifacts").glob(pattern))) < count:
        time.sleep(0.05)
    while command.poll() is None and not any(is_worker(process) for process in processes_of(temporary)):
        time.sleep(0.2)
    deadline = time.monotonic() + 10
    while writing and command.poll() is None and time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            if os.listdir(storage / ".partial"):
                return
        time.sleep(0.002)


def tables(storage: Path) -> dict[str, pd.DataFrame]:
    folder = storage / find_run(Store(str(storage)), EXPERIMENT["name"]) / "tables"
    contents = {path.stem: pq.read_table(path).to_pandas() for path in sorted(folder.glob("*.parquet"))}
    contents["predictions"] = pq.read_table(folder / "predictions").to_pandas()
    return {name: table.drop(columns=[c for c in CLOCKS if c in table]) for name, table in contents.items()}


def same(left: dict[str, pd.DataFrame], right: dict[str, pd.DataFrame]) -> bool:
    return set(left) == set(right) and all(left[name].equals(right[name]) for name in left)


def left_files(temporary: Path, storage: Path) -> int:
    folders = [storage / ".ray", storage / ".partial", temporary]
    names = [path.name for folder in folders if folder.exists() for path in folder.iterdir()]
    # the log that the user was told about, and the cache of torch.compile
    return len([name for name in names if not name.startswith(("raybench-logs", "torchinductor"))])


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=[*VICTIMS])
    parser.add_argument("--out", type=Path, help="CSV file to append each round to")
    parser.add_argument("--folder", type=Path, help="short path to keep the undisturbed run in, for another call")
    parser.add_argument("--short", action="store_true", help="one round: the driver is killed")
    options = parser.parse_args(words)
    if options.short:
        options.rounds, options.victims = 1, ["driver"]
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sk-", dir="/tmp"))
    soak, outcomes = Soak(folder), []
    for number in range(options.first, options.first + options.rounds):
        outcome = soak.round(number, random.Random(f"victim {number}").choice(options.victims))
        outcomes.append(outcome)
        print(outcome, flush=True)
        if options.out:
            new = not options.out.exists()
            with options.out.open("a", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerows([[field.name for field in fields(Outcome)]] if new else [])
                writer.writerow([getattr(outcome, field.name) for field in fields(Outcome)])
    passed = sum(outcome.passed for outcome in outcomes)
    print(f"{passed} of {len(outcomes)} rounds passed")
    if passed == len(outcomes) and not options.folder:
        shutil.rmtree(folder)
    return int(passed != len(outcomes))


if __name__ == "__main__":
    sys.exit(main())
