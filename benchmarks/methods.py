"""What each method costs beyond the passes it makes: bare forward and backward time divided by the method's time.

    python benchmarks/methods.py [--model cnn|resnet18] [--methods scrub rkd] [--batch-size 128] [--repeats 3]

The bare time is that of the samples in the method's own ledger through the same model in batches of the same size, with
a cross-entropy and no optimizer: forward and backward for those that went backward, forward alone for the rest
(teachers, importance without gradients). 1 is perfect, the goal is 0.9; more than 1 is a backward pass that stops at
frozen or earlier layers, or noise. Per-sample importances run in batches of one, whose bare time is measured as such.
Random images, one process and thread, processor time; the bare passes are timed before and after each run, and the
median of the repeats is printed; only ratios mean anything. With the allocator of raybench's own workers
(`MALLOC` in raybench/stages/cluster.py) put MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736 before the command.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from raybench import methods, models
from raybench.data.images import ImageData
from raybench.data.reading.batches import ResidentSplit
from raybench.methods.framework.run import run
from raybench.methods.framework.spec import check, hyperparameters
from raybench.methods.framework.task import UnlearningTask

SINGLE = {"ssd", "lfssd", "fisher_forgetting", "influence"}  # go through the network one sample at a time
SHORT = {
    "epochs": 1,
    "iterations": 4,
    "overfit_epochs": 1,
    "draws": 4,
    "noise_steps": 8,
    "samples": 32,
    "max_batches": 1,
}
CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cnn", choices=["cnn", "resnet18"])
    parser.add_argument("--methods", nargs="*", default=methods.names())
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--retain", type=int, default=128)
    parser.add_argument("--forget", type=int, default=128)
    given = parser.parse_args()
    torch.set_num_threads(1)
    stem = "cifar" if given.model == "resnet18" else "imagenet"
    model = models.build(given.model, num_classes=CLASSES, channels=3, stem=stem)  # type: ignore[arg-type]
    data = _images(given.forget + given.retain + 64)
    parts = np.split(np.arange(given.forget + given.retain + 64), [given.forget, given.forget + given.retain])
    print(f"{given.model}, batch {given.batch_size}, {given.forget} forget, {given.retain} retain, 1 thread")
    print(f"{'method':28}{'samples/s':>12}{'bare/own':>10}")
    measure("finetune", model, data, parts, batch_size=given.batch_size, repeats=1)  # the first run pays for set-up
    for name in given.methods:
        rate, ratio = measure(name, model, data, parts, batch_size=given.batch_size, repeats=given.repeats)
        print(f"{name:28}{rate:12.0f}{ratio:10.2f}", flush=True)


def measure(
    name: str, model: nn.Module, data: ImageData, parts: list[np.ndarray], *, batch_size: int, repeats: int
) -> tuple[float, float]:
    """Return samples (forward) per second, and bare time over own time, each the median of the repeats."""
    function = methods.get(name)
    short = {key: value for key, value in SHORT.items() if key in hyperparameters(function).model_fields}
    arguments, settings = check(name, function, {"batch_size": batch_size, **short})
    if name in SINGLE:  # fewer samples, as each is a pass of its own
        parts = [parts[0][:32], parts[1][:64], parts[2]]
    forget, retain, calibration = (ResidentSplit(data, ids) for ids in parts)
    size = 1 if name in SINGLE else batch_size
    rates, ratios = [], []
    before = bare(model, batch_size=size)
    for _ in range(repeats):
        task = UnlearningTask(
            model,
            forget=forget,
            retain=retain,
            calibration=calibration,
            settings=settings,
            fresh=lambda _: _fresh(model),
        )
        start = time.process_time()
        ledger = run(function, task, arguments).ledger
        seconds = time.process_time() - start
        after = bare(model, batch_size=size)
        forward, both = np.mean([before, after], axis=0)
        before = after
        shared = min(ledger.samples_backward, ledger.samples_forward)
        backward_only = (ledger.samples_backward - shared) * max(0.0, both - forward)
        needed = shared * both + (ledger.samples_forward - shared) * forward + backward_only
        rates.append(ledger.samples_forward / seconds)
        ratios.append(needed / seconds)
    return statistics.median(rates), statistics.median(ratios)


def bare(model: nn.Module, *, batch_size: int) -> tuple[float, float]:
    """Return the seconds per sample of a forward pass, and of a forward and a backward pass in train mode."""
    x, y = torch.randn(batch_size, 3, 32, 32), torch.arange(batch_size) % CLASSES
    model.train(batch_size > 1)

    def forward() -> None:
        with torch.inference_mode():
            model(x)

    def both() -> None:
        model.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x), y).backward()

    return _seconds(forward) / batch_size, _seconds(both) / batch_size


def _seconds(work: Callable[[], None], times: int = 3) -> float:
    measured = []
    for _ in range(times):
        start = time.process_time()
        work()
        measured.append(time.process_time() - start)
    return statistics.median(measured)


def _fresh(model: nn.Module) -> nn.Module:
    new = copy.deepcopy(model)
    models.reset(new, seed=0)
    return new


def _images(n: int) -> ImageData:
    return ImageData(
        images=np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8),
        labels=np.arange(n) % CLASSES,
        part=np.zeros(n, dtype=np.uint8),
        class_names=tuple(str(c) for c in range(CLASSES)),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


if __name__ == "__main__":
    main()
