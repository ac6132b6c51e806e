"""Evaluate splits of growing size: time and memory of the prediction pass and of scoring, and what is stored.

    python benchmarks/scale.py [--samples 10000 100000 1280000] [--width 2048] [--classes 1000] [--device cpu]
                               [--metrics accuracy knn ...] [--stream-above 100000] [--out scale.csv] [--short]

Models of the true output size (a random linear layer to `width` features, ReLU, a linear layer to `classes` logits) on
made-up images, so that the forward pass costs little and what follows it is measured: one original, two retrained
models, one unlearned. Every number comes from the code that a run uses: imported checkpoints, jobs of the prediction
pass, jobs of scoring. Each size and stage is a process of its own, whose largest resident memory is taken.

Then k-NN by itself: multiply-adds per second of the search, against those of a plain matrix product on this machine.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from raybench import ImageData, dataset
from raybench.config.reading import experiment_of
from raybench.distributed.evaluate import in_order
from raybench.jobs import plan
from raybench.jobs.imports import import_models
from raybench.jobs.predict import Predictor
from raybench.jobs.prediction_plan import predict_jobs
from raybench.jobs.score import Scorer
from raybench.metrics.functions.knn import nearest
from raybench.registry import MODULES
from raybench.scenario.prepare import prepare
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store

METRICS = ["accuracy", "mean_loss", "calibration_error", "mia_svc", "retain_exposure", "coverage", "cr", "knn"]
OTHERS = {"forget": 1000, "validation": 200, "calibration": 2000, "test": 2000, "unseen": 1000}
SIDE = 4  # pixels of an image


@dataset(source="made up by benchmarks/scale.py")
def made_up(root: Path, *, download: bool = False) -> ImageData:
    """Return as many random images as the file `size.json` in the folder says."""
    samples, classes = json.loads((root / "size.json").read_text())
    rng = np.random.default_rng(0)
    return ImageData(
        images=rng.integers(0, 256, (samples, SIDE, SIDE, 3), dtype=np.uint8),
        labels=rng.integers(0, classes, samples),
        part=np.zeros(samples, dtype=np.uint8),
        class_names=tuple(map(str, range(classes))),
        mean=(0.5,) * 3,
        std=(0.29,) * 3,
    )


def network(num_classes: int) -> nn.Module:
    """Return a model whose forward pass costs little beside its head."""
    width = int(os.environ["SCALE_WIDTH"])
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, width), nn.ReLU(), nn.Linear(width, num_classes))


def experiment(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the experiment of one size, after writing its checkpoints."""
    torch.manual_seed(0)
    original = network(options.classes).state_dict()
    for name in ("original", "retrained-0", "retrained-1", "unlearned"):
        noise = 0.0 if name == "original" else 0.3
        state = {key: value + noise * torch.randn_like(value) * value.std() for key, value in original.items()}
        torch.save(state, folder / f"{name}.pt")
    sizes = {name: count for name, count in OTHERS.items() if name != "forget"}
    metrics = [*METRICS, "cka_to_retrained"] if options.metrics is None else options.metrics
    return {
        "name": "scale",
        "data": {"dataset": "scale.made_up", "root": str(folder), "sizes": {"train": None, **sizes}},
        "forget": {"rule": "random", "count": OTHERS["forget"]},
        "model": {"name": "scale.network", "checkpoint": str(folder / "original.pt")},
        "train": {"retrained": {"checkpoints": [str(folder / f"retrained-{i}.pt") for i in range(2)]}},
        "methods": {"unlearned": {"checkpoints": [str(folder / "unlearned.pt")]}},
        "evaluate": {"metrics": metrics, "alphas": [0.1], "stream_above": options.stream_above},
        "resources": {"threads": options.threads},
    }


def scenario_of(folder: Path) -> Scenario:
    parsed, _ = experiment_of(json.loads((folder / "experiment.json").read_text()), [])
    return prepare(parsed, Store(str(folder / "store")))


def stage(folder: Path, name: str) -> dict[str, float]:
    """Run one stage in this process."""
    scenario = scenario_of(folder)
    train = plan.train_jobs(scenario)
    unlearned = plan.imported_jobs(scenario, [job.key for job in train if job.kind == "original"])
    if name == "import":
        import_models(scenario, train, unlearned)
        return {}
    evaluated = plan.evaluated_models(train, unlearned)
    started = time.perf_counter()
    if name == "predict":
        predictor = Predictor(scenario)
        for phase in in_order(predict_jobs(scenario, evaluated)):
            for job in phase:
                predictor(job)
    else:
        scorer = Scorer(scenario)
        scorer(plan.score_jobs(scenario, evaluated)[-1])  # the unlearned model
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


def of_process(folder: Path, name: str) -> dict[str, float]:
    """Run one stage in a process of its own."""
    command = [sys.executable, __file__, "--stage", name, str(folder)]
    results: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return results


def measure(samples: int, options: argparse.Namespace) -> dict[str, float]:
    """Return time, memory and storage of one size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "size.json").write_text(json.dumps([samples + sum(OTHERS.values()), options.classes]))
        (folder / "experiment.json").write_text(json.dumps(experiment(folder, options)))
        row: dict[str, float] = {"samples": samples}
        for part in ("import", "predict", "score"):
            result = stage(folder, part) if options.short else of_process(folder, part)
            row |= {f"{part}_{key}": value for key, value in result.items()}
        for kind in ("predictions", "signals", "statistics"):
            files = (folder / "store/artifacts" / kind).rglob("*retain-*")
            row[f"{kind}_bytes_per_sample"] = sum(file.stat().st_size for file in files) / samples / 4
    return row


def knn_rate(options: argparse.Namespace) -> tuple[float, float]:
    """Return multiply-adds per second of the k-NN search and of a matrix product of the same shape, in 1e9."""
    device = torch.device(options.device)
    rows, queries = (8_192, 512) if options.short else (65_536, 4_096)
    bank, points = (torch.randn(n, options.width, device=device) for n in (rows, queries))
    labels = np.zeros(rows, dtype=np.int64)

    def rate(work: Any) -> float:
        work()  # warm
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return rows * queries * options.width / (time.perf_counter() - started) / 1e9

    return rate(lambda: nearest(bank, labels, points)), rate(lambda: points @ bank.T)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000, 1_280_000])
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--metrics", nargs="+")
    parser.add_argument("--stream-above", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--short", action="store_true", help="one small size, streamed, in this process")
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.short:
        options.samples, options.width, options.classes, options.stream_above = [600], 16, 10, 500
        options.threads = 1
    os.environ[MODULES] = str(Path(__file__).parent)
    os.environ.setdefault("SCALE_WIDTH", str(options.width))
    if options.stage:
        print(json.dumps(stage(Path(options.stage[1]), options.stage[0])))
        return
    rows = []
    for samples in options.samples:
        rows.append(measure(samples, options))
        print("  ".join(f"{key} {value:,.2f}".replace(".00", "") for key, value in rows[-1].items()), flush=True)
    ours, plain = knn_rate(options)
    print(f"k-NN {ours:.1f} G multiply-adds/s on {options.device}, {ours / plain:.0%} of a plain product's {plain:.1f}")
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
