"""Time what each method costs beyond its forward and backward passes: bare time of the passes / the method's time.

    python benchmarks/methods.py [--model cnn|resnet18] [--methods scrub rkd] [--batch-size 128] [--repeats 3] [--short]

The bare time is that of the samples that the method counts, through the same model in batches of the same size, with a
cross-entropy and no optimizer: forward and backward for the samples that went backward, forward alone for the rest
(teachers, importance without gradients). 1 is perfect, the goal is 0.9; more than 1 means a backward pass that stops at
frozen or earlier layers, or noise. Per-sample importances run in batches of one, and so do their bare passes. Random
images, one process and thread, CPU time. The bare passes are timed before and after each run, and the median of the
repeats is printed; only the ratios are comparable between machines. To use the allocator settings of raybench's workers
(`MALLOC` in raybench/distributed/cluster.py), put MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736 before the
command. --short times three methods on a few images.
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

SINGLE = {"ssd", "lfssd", "fisher_forgetting", "influence"}  # these pass one sample at a time through the network
FEW_STEPS = {
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
    parser.add_argument("--short", action="store_true", help="three methods on a few images")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.methods, arguments.batch_size = ["finetune", "scrub", "ssd"], 32
        arguments.retain = arguments.forget = 64
    torch.set_num_threads(1)
    stem = "cifar" if arguments.model == "resnet18" else "imagenet"
    model = models.build(arguments.model, num_classes=CLASSES, channels=3, stem=stem)  # type: ignore[arg-type]
    data = _images(arguments.forget + arguments.retain + 64)
    parts = np.split(
        np.arange(arguments.forget + arguments.retain + 64), [arguments.forget, arguments.forget + arguments.retain]
    )
    print(
        f"{arguments.model}, batch {arguments.batch_size}, "
        f"{arguments.forget} forget, {arguments.retain} retain, 1 thread"
    )
    print(f"{'method':28}{'samples/s':>12}{'bare/all':>10}")
    measure(
        "finetune", model, data, parts, batch_size=arguments.batch_size, repeats=1
    )  # the first run includes the set-up
    for name in arguments.methods:
        rate, ratio = measure(name, model, data, parts, batch_size=arguments.batch_size, repeats=arguments.repeats)
        print(f"{name:28}{rate:12.0f}{ratio:10.2f}", flush=True)


def measure(
    name: str, model: nn.Module, data: ImageData, parts: list[np.ndarray], *, batch_size: int, repeats: int
) -> tuple[float, float]:
    """Return samples (forward) per second, and bare time / the method's time, each the median of the repeats."""
    function = methods.get(name)
    few_steps = {key: value for key, value in FEW_STEPS.items() if key in hyperparameters(function).model_fields}
    values, settings = check(name, function, {"batch_size": batch_size, **few_steps})
    if name in SINGLE:  # fewer samples: each is a separate pass
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
        ledger = run(function, task, values).ledger
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
    """Return the seconds per sample of a forward pass, and of a forward and backward pass in train mode."""
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
