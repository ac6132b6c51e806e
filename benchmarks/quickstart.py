"""How long the quickstart takes, by stage, on a fresh storage, and how much memory at its peak.

    python benchmarks/quickstart.py

The start of each stage's worker processes (which import torch) is part of its time: that is what a newcomer waits for.
Memory is summed over this process and all that it started, Ray's included, pages that several share counted once.
"""

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


class Stopwatch(Reporter):
    """Keeps each stage's seconds."""

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
    """Looks at the memory of all processes of the run every half second and keeps the highest sum."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.over = threading.Event()

    def run(self) -> None:
        own = psutil.Process()
        while not self.over.wait(0.5):
            used = 0
            for process in [own, *own.children(recursive=True)]:
                with suppress(psutil.Error):  # it has ended since it was listed
                    used += process.memory_full_info().pss
            self.peak = max(self.peak, used)


def main() -> None:
    experiment, text = load_experiment(QUICKSTART)
    stopwatch, memory = Stopwatch(), Memory()
    memory.start()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run(experiment, text, Store(folder), stopwatch)
    whole = time.perf_counter() - started
    for name, seconds in {**stopwatch.seconds, "the rest": whole - sum(stopwatch.seconds.values())}.items():
        print(f"{name:<34} {seconds:6.1f} s  {seconds / whole:4.0%}")
    print(f"{'all':<34} {whole:6.1f} s")
    memory.over.set()
    print(f"{'memory at its peak':<34} {memory.peak / 1e9:6.2f} GB")


if __name__ == "__main__":
    main()
