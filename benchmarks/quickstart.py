"""Time the quickstart by stage on an empty storage, and measure its peak memory.

    python benchmarks/quickstart.py [--short]

The start of each stage's worker processes (which import torch) is part of its time: a first-time user waits for it too.
Memory is summed over this process and all its descendants, Ray's included; shared pages count once. --short runs one
method on two retrained models.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from rich.console import Console

from raybench.config.reading import load_experiment
from raybench.pipeline.run import run
from raybench.progress import Reporter, Stage
from raybench.storage.store import Store

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"
REMOVED = ("retrain", "gradient_ascent", "neggrad_plus", "random_label", "salun", "scrub")
SHORT = ["train.epochs=1", "train.retrained_seeds=2", "sweep.trials=1", "sweep.seeds=1", "evaluate.metrics=[accuracy]"]
SHORT += ["resources.cpus_per_model=2", "resources.cpus_per_trial=2"]  # fewer processes to start
SHORT += [f"methods.{name}=null" for name in REMOVED]


class Stopwatch(Reporter):
    """Record each stage's seconds."""

    def __init__(self) -> None:
        super().__init__(Console(), verbosity=-1)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, unit: str, *, total: int, done: int = 0) -> Iterator[Stage]:
        started = time.perf_counter()
        with super().stage(name, unit, total=total, done=done) as stage:
            yield stage
        self.seconds[f"{name} ({total} {unit})"] = time.perf_counter() - started


class Memory(threading.Thread):
    """Sum the memory of all processes of the run every `seconds` and keep the maximum."""

    def __init__(self, seconds: float) -> None:
        super().__init__(daemon=True)
        self.seconds, self.peak = seconds, 0
        self.over = threading.Event()

    def run(self) -> None:
        this = psutil.Process()
        while not self.over.wait(self.seconds):
            used = 0
            for process in [this, *this.children(recursive=True)]:
                with suppress(psutil.Error):  # the process has ended since it was listed
                    used += process.memory_full_info().pss
            self.peak = max(self.peak, used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="one method, two retrained models")
    short = parser.parse_args().short
    experiment, text = load_experiment(QUICKSTART, SHORT if short else [])
    stopwatch, memory = Stopwatch(), Memory(seconds=4 if short else 0.5)
    memory.start()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run(experiment, text, Store(folder), stopwatch)
    whole = time.perf_counter() - started
    for name, seconds in {**stopwatch.seconds, "other": whole - sum(stopwatch.seconds.values())}.items():
        print(f"{name:<34} {seconds:6.1f} s  {seconds / whole:4.0%}")
    print(f"{'total':<34} {whole:6.1f} s")
    memory.over.set()
    print(f"{'peak memory':<34} {memory.peak / 1e9:6.2f} GB")


if __name__ == "__main__":
    main()
