"""Time a sweep of small trials through Ray Tune against the same trials in a plain loop in one process.

    python benchmarks/sweep.py [--trials 100] [--epochs 10] [--short]

The loop and the sweep do exactly the same work (the quickstart's `finetune`, one setting per trial, audits included) on
separate storages. The sweep's rate is printed twice: from the first result to the last, which is the rate of a long
sweep, and with the start of Ray and its workers. The goal is 85 % of (cores x the loop's rate) for the first. --short
runs 10 trials of one epoch.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from raybench.config.reading import load_experiment
from raybench.distributed.cluster import Cluster
from raybench.engine.audit import reference
from raybench.jobs.plan import search_jobs, train_jobs
from raybench.jobs.train import train_job
from raybench.jobs.trial import trial_job
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10, help="of finetune: the length of a trial")
    parser.add_argument("--short", action="store_true", help="10 trials of one epoch")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.trials, arguments.epochs = 10, 1
    settings = [f"sweep.trials={arguments.trials}", "sweep.seeds=1", "train.retrained_seeds=2"]
    settings += ["train.epochs=1", "resources.cpus_per_trial=2"] if arguments.short else []
    settings += [f"methods={{finetune: {{lr: {{loguniform: [0.001, 0.05]}}, epochs: {arguments.epochs}}}}}"]
    experiment, _ = load_experiment(QUICKSTART, settings)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "loop"), Path(folder, "sweep")
        scenario = prepare(experiment, Store(str(first)))
        trained = train_jobs(scenario)
        records = [train_job(scenario, job) for job in trained]
        retrained = reference([record["audit"] for record in records[1:]])
        seconds = sum(record["seconds"] for record in records) / len(records)
        shutil.copytree(first, second)
        jobs = search_jobs(scenario, trained[0].key)["finetune"]
        trial_job(scenario, search_jobs(scenario, trained[0].key)["scrub"][0], retrained)  # warm-up, not counted

        started = time.perf_counter()
        for job in jobs:
            trial_job(scenario, job, retrained)
        loop = len(jobs) / (time.perf_counter() - started)

        cores = len(os.sched_getaffinity(0))
        other = prepare(experiment, Store(str(second)))
        times: list[float] = []
        with Cluster() as cluster:
            started = time.perf_counter()
            cluster.start()
            from raybench.distributed.sweep import run_trials

            run_trials(other, jobs, retrained, lambda _: times.append(time.perf_counter()), training_seconds=seconds)
            whole = time.perf_counter() - started
        early = sum(moment <= times[0] + 1e-3 for moment in times)
        steady = (len(times) - early) / (times[-1] - times[0])
    print(f"trials              {len(jobs)} x finetune, {arguments.epochs} epochs, {cores} cores")
    print(f"plain loop          {60 * loop:8.0f} trials per minute ({1 / loop:.2f} s each)")
    print(
        f"sweep, steady       {60 * steady:8.0f} trials per minute = {steady / loop / cores:.0%} of {cores} x the loop"
    )
    print(
        f"sweep, with start   {60 * len(jobs) / whole:8.0f} trials per minute = {len(jobs) / whole / loop / cores:.0%}"
    )


if __name__ == "__main__":
    main()
