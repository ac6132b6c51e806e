"""Measure every method at its defaults, and with the best of a few draws of its shipped search ranges.

    python benchmarks/defaults.py [--scenarios digits lfw] [--methods scrub] [--draws 8] [--out FILE] [--short]

Scenarios: `digits`, a random fifth of the quickstart's 600 scans with a tenth of wrong labels; `digits_class`, all
scans of the digit 3 without wrong labels; `lfw`, a sixth of the people of 988 portraits, where the task is gender;
`fashion`, a random tenth of 2,000 images of Fashion-MNIST at 14 x 14 pixels with a tenth of wrong labels. The
defaults and ranges were chosen by looking at these four. Two more played no part in it: `digits_many`, 300 of 1,000
scans in batches of 32, and `digits_adam`, the random fifth for a smaller network trained with Adam. A scenario whose
images are missing is left out with a message; `--data` is the folder that has `FashionMNIST` and `lfw`.

The gap is that of the sweep: the mean absolute difference to six retrained models in retain, forget and validation
accuracy and in the AUC of the loss attack, in points. A gap at the defaults is a mean over two originals. Draws are
tuned on the first original, and the best one is reported on the second original with another seed. The noise floor is
the mean gap of a retrained model to the others. Verdict: `better` or `worse` than doing nothing if the gap differs from
the original's by more than the noise floor, else `no change`. One process without Ray; `--out` writes the table that
`python -m raybench.docgen` reads, and keeps its rows of other scenarios and methods. --short measures three methods on
small digits.
"""

import argparse
import csv
import datetime
import json
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raybench import methods
from raybench.config.reading import load_experiment
from raybench.config.spaces import Space, draw_settings
from raybench.engine.audit import GAP, Audit, audit, objective, reference
from raybench.jobs import plan
from raybench.jobs.train import train_job
from raybench.methods.framework.run import run
from raybench.methods.framework.spec import MethodSpec, check, shipped_ranges
from raybench.methods.framework.task import UnlearningTask
from raybench.registry import spec_of
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RETRAINED = "train.retrained_seeds=[101, 102, 103, 104, 105, 106]"
SMALL_FASHION = ["data.download=false", "data.resize=14", "model.width=12"]
MANY = [
    "data.sizes={train: 1000, validation: 200, calibration: 100, test: 200, unseen: 200}",
    "forget.count=300",
    "train.epochs=20",
    "train.batch_size=32",
]
ADAM = ["train.optimizer=adam", "train.lr=0.003", "train.weight_decay=0", "model.width=8"]
SCENARIOS: Mapping[str, tuple[str, list[str], str]] = {  # experiment, changes, folder of the images below --data
    "digits": ("quickstart.yaml", [], ""),
    "digits_class": ("quickstart.yaml", ["data.mislabel=null", "forget={rule: class, classes: [3]}"], ""),
    "digits_many": ("quickstart.yaml", MANY, ""),
    "digits_adam": ("quickstart.yaml", ADAM, ""),
    "lfw": ("lfw_gender.yaml", ["data.root={data}/lfw"], "lfw/lfw_identity_gender.parquet"),
    "fashion": ("fashion_mnist_random.yaml", ["data.root={data}", *SMALL_FASHION], "FashionMNIST/raw"),
}
COLUMNS = (
    "method",
    "scenario",
    "doing_nothing",
    "noise_floor",
    "gap",
    "verdict",
    "forget_accuracy",
    "validation_accuracy",
    "seconds",
    "searched_gap",
    "searched_verdict",
    "searched_forget_accuracy",
    "searched_validation_accuracy",
    "draws",
    "setting",
    "date",
)
SHORT = ["train.epochs=3", "model.width=4", "train.retrained_seeds=[101, 102]"]


class Measured:
    """Two originals and their retrained models, trained once and kept in the store."""

    def __init__(self, name: str, store: Store, *, data: str, changes: Sequence[str] = ()) -> None:
        path, settings, _ = SCENARIOS[name]
        self.scenarios, self.originals = [], []
        for seed in (0, 1):
            overrides = [RETRAINED, f"train.seed={seed}", *(text.replace("{data}", data) for text in settings)]
            experiment, _ = load_experiment(EXPERIMENTS / path, [*overrides, *changes])
            scenario = prepare(experiment, store)
            jobs = plan.train_jobs(scenario)
            original, *retrained = [train_job(scenario, job)["audit"] for job in jobs]
            self.scenarios.append(scenario)
            self.originals.append((jobs[0].key, original))
        self.target = reference(retrained)
        others = [[b for b in retrained if b is not a] for a in retrained]
        self.floor = float(np.mean([objective(GAP, a, reference(rest)) for a, rest in zip(retrained, others)]))

    def gap(self, values: Audit) -> float:
        """Return the gap in points; 100 for a model that diverged."""
        gap = objective(GAP, values, self.target)
        return gap if math.isfinite(gap) else 100.0

    def doing_nothing(self, *numbers: int) -> float:
        """Return the mean gap of these originals."""
        return float(np.mean([self.gap(self.originals[number][1]) for number in numbers]))

    def trial(self, method: str, setting: Mapping[str, Any], *, number: int, seed: int) -> tuple[Audit, float]:
        """Run a method on one original; return the audit of the result and the seconds of the run."""
        scenario, function = self.scenarios[number], methods.get(method)
        arguments, settings = check(method, function, setting, scenario.training)
        splits = scenario.audit_splits()
        task = UnlearningTask(
            scenario.load(self.originals[number][0]),
            forget=scenario.split("forget", augment=True),
            retain=scenario.split("retain", augment=True),
            calibration=splits["validation"],
            seed=seed,
            settings=settings,
            training=scenario.training,
            fresh=scenario.fresh,
        )
        outcome = run(function, task, arguments)
        return audit(outcome.model, splits), outcome.ledger.seconds

    def verdict(self, gap: float, doing_nothing: float) -> str:
        """Compare a gap with that of the original, with the noise floor as the margin."""
        if abs(gap - doing_nothing) <= self.floor:
            return "no change"
        return "better" if gap < doing_nothing else "worse"


def measure(measured: Measured, method: str, *, draws: int) -> dict[str, Any]:
    """Return the row of one method: at its defaults, and with the best of `draws` settings of its ranges."""
    at_defaults = [measured.trial(method, {}, number=number, seed=10 + number) for number in (0, 1)]
    gap, nothing = float(np.mean([measured.gap(values) for values, _ in at_defaults])), measured.doing_nothing(0, 1)
    row = {
        "doing_nothing": round(nothing, 2),
        "noise_floor": round(measured.floor, 2),
        "gap": round(gap, 2),
        "verdict": measured.verdict(gap, nothing),
        "forget_accuracy": _mean(at_defaults, "forget_accuracy"),
        "validation_accuracy": _mean(at_defaults, "validation_accuracy"),
        "seconds": round(float(np.mean([seconds for _, seconds in at_defaults])), 2),
    }
    ranges = shipped_ranges(methods.get(method), measured.scenarios[0].training)
    if not ranges or not draws:
        return row
    settings = draw_settings({key: Space.parse(key, value) for key, value in ranges.items()}, trials=draws, seed=0)
    gaps = [measured.gap(measured.trial(method, setting, number=0, seed=20)[0]) for setting in settings]
    best, ranges_of = settings[int(np.argmin(gaps))], spec_of(methods.get(method), MethodSpec).search
    values, _ = measured.trial(method, best, number=1, seed=21)
    searched = measured.gap(values)
    return row | {
        "searched_gap": round(searched, 2),
        "searched_verdict": measured.verdict(searched, measured.doing_nothing(1)),
        "searched_forget_accuracy": _mean([(values, 0.0)], "forget_accuracy"),
        "searched_validation_accuracy": _mean([(values, 0.0)], "validation_accuracy"),
        "draws": len(settings),
        "setting": json.dumps(
            {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in best.items() if k in ranges_of}
        ),
    }


def _mean(trials: Sequence[tuple[Audit, float]], name: str) -> float:
    return round(100 * float(np.mean([values[name] for values, _ in trials])), 1)


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows, and keep those of other methods and scenarios that the file has."""
    kept: dict[tuple[str, str], Mapping[str, Any]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            kept = {(row["method"], row["scenario"]): row for row in csv.DictReader(file)}
    kept |= {(row["method"], row["scenario"]): row for row in rows}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for _, row in sorted(kept.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS), choices=list(SCENARIOS))
    parser.add_argument("--methods", nargs="*", default=methods.names())
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--data", default="data", help="folder with FashionMNIST and lfw")
    parser.add_argument("--store", default=None, help="folder that keeps the trained models; default: a temporary one")
    parser.add_argument("--out", type=Path, default=None, help="CSV file to write or to update")
    parser.add_argument("--short", action="store_true", help="three methods on small digits")
    arguments = parser.parse_args()
    changes: list[str] = []
    if arguments.short:
        arguments.scenarios, arguments.methods, arguments.draws = ["digits"], ["finetune", "scrub", "ssd"], 2
        changes = SHORT
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(arguments.store or folder)
        for name in arguments.scenarios:
            if not (Path(arguments.data) / SCENARIOS[name][2]).exists() and SCENARIOS[name][2]:
                print(f"{name}: left out, {arguments.data}/{SCENARIOS[name][2]} does not exist (see --data)")
                continue
            started = time.perf_counter()
            measured = Measured(name, store, data=os.path.abspath(arguments.data), changes=changes)
            nothing = measured.doing_nothing(0, 1)
            print(f"{name}: doing nothing {nothing:.1f}, noise floor {measured.floor:.1f} points", flush=True)
            for method in arguments.methods:
                row = measure(measured, method, draws=arguments.draws)
                searched = f"best of {row['draws']}: {row['searched_gap']:5.1f}" if "draws" in row else ""
                print(f"  {method:28}{row['gap']:5.1f}  {row['verdict']:10} {searched}", flush=True)
                if arguments.out is not None:
                    date = f"{datetime.date.today():%Y-%m-%d}"
                    write(arguments.out, [{"method": method, "scenario": name, "date": date, **row}])
            print(f"  {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
