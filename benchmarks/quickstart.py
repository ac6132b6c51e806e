"""How long the quickstart takes, by stage, on a fresh storage.

    python benchmarks/quickstart.py

The start of each stage's worker processes (which import torch) is part of its time: that is what a newcomer waits for.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from raybench.experiment_file import load_experiment
from raybench.pipeline import run
from raybench.progress import Reporter, Stage
from raybench.store import Store

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


def main() -> None:
    experiment, text = load_experiment(QUICKSTART)
    stopwatch = Stopwatch()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run(experiment, text, Store(folder), stopwatch)
    whole = time.perf_counter() - started
    for name, seconds in {**stopwatch.seconds, "the rest": whole - sum(stopwatch.seconds.values())}.items():
        print(f"{name:<34} {seconds:6.1f} s  {seconds / whole:4.0%}")
    print(f"{'all':<34} {whole:6.1f} s")


if __name__ == "__main__":
    main()
