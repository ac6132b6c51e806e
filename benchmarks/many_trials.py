"""Run 1,000 small trials, of which 3 % fail at random, and account for every one.

    OMP_NUM_THREADS=1 python benchmarks/many_trials.py [--trials 1000] [--failures 0.03] [--short]

The method below trains for one epoch and raises an error with the given probability, which is a function of its
learning rate, so the driver knows which trials must fail. The whole experiment runs: search, finalists, final runs,
evaluation and tables. Memory is summed over this process and all its descendants, Ray's included; shared pages count
once. The goals are a row for every trial, an error in every failed one and in no other, and less than 4 GB.
"""

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path

import pandas as pd
from quickstart import Memory
from rich.console import Console

from raybench import Fraction, Rate, UnlearningTask, method
from raybench.config.reading import experiment_of
from raybench.methods.building_blocks.fine_tuning import fine_tune
from raybench.pipeline.run import run
from raybench.progress import Reporter
from raybench.registry import MODULES
from raybench.storage.runs import find_run
from raybench.storage.store import Store

EXPERIMENT = {
    "name": "many",
    "data": {
        "dataset": "digits",
        "sizes": {"train": 200, "validation": 100, "calibration": 100, "test": 100, "unseen": 100},
    },
    "forget": {"rule": "random", "count": 40},
    "model": {"name": "cnn", "width": 4},
    "train": {"epochs": 3, "lr": 0.1, "batch_size": 32, "retrained_seeds": 2},
    "sweep": {"originals": 1, "seeds": 2, "finalists": 2, "scheduler": "none", "search": "random"},
    "evaluate": {"metrics": ["accuracy", "mia"], "alphas": [0.2]},
}
SHORT = ["resources.cpus_per_model=2", "resources.cpus_per_trial=2"]  # fewer processes to start


def fails(lr: float, failures: float) -> bool:
    """Return whether the trial with this learning rate fails."""
    return random.Random(f"trial {lr!r}").random() < failures


@method(source="a benchmark")
def unreliable(task: UnlearningTask, *, lr: Rate = 0.01, failures: Fraction = 0.03) -> None:
    """Fine-tune on the retain set for one epoch, or raise an error."""
    if fails(lr, failures):
        raise RuntimeError(f"a random failure at lr {lr}")
    fine_tune(task, lr=lr, epochs=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--failures", type=float, default=0.03, help="fraction of the trials that fail")
    parser.add_argument("--short", action="store_true", help="12 trials, of which a third fails")
    options = parser.parse_args()
    if options.short:
        options.trials, options.failures = 12, 0.33
    os.environ[MODULES] = str(Path(__file__).parent)
    searched = {"lr": {"loguniform": [0.001, 0.1]}, "failures": options.failures}
    content = EXPERIMENT | {"methods": {"many_trials.unreliable": searched}}
    settings = [f"sweep.trials={options.trials}", *(SHORT if options.short else [])]
    experiment, text = experiment_of(content, settings)
    memory = Memory(seconds=4 if options.short else 1)
    memory.start()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        run(experiment, text, store, Reporter(Console(width=150), verbosity=0 if not options.short else -1))
        trials = store.read_table(f"{find_run(store, 'many')}/tables/trials.parquet").to_pandas()
    seconds = time.perf_counter() - started
    memory.over.set()
    search = trials[(trials["phase"] == "search") & trials["last"]]
    rates = [json.loads(setting)["lr"] for setting in search["hyperparameters"]]
    due = pd.Series([fails(rate, options.failures) for rate in rates], search.index)
    failed = (search["status"] == "failed") & search["reason"].str.startswith(
        "RuntimeError: a random failure", na=False
    )
    wrong = (due != failed).sum()
    print(
        f"trials       {len(search)} rows of {options.trials}: {failed.sum()} with an error, {wrong} with a wrong one"
    )
    print(f"time         {seconds:.0f} s, {60 * len(search) / seconds:.0f} trials per minute with everything else")
    print(f"peak memory  {memory.peak / 1e9:.2f} GB")
    assert len(set(search["trial"])) == len(search) == options.trials
    assert not wrong


if __name__ == "__main__":
    main()
