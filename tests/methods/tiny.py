"""A tiny network, tiny data, and plain versions of what the task does, for the tests of methods."""

import copy
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

import raybench
from raybench import methods, models
from raybench.methods.framework.passes import as_split
from raybench.methods.framework.run import Outcome, run
from raybench.methods.framework.spec import check
from raybench.methods.framework.task import UnlearningTask

Samples = list[tuple[Tensor, Tensor | int]]
CLASSES = 3


def net(*, seed: int = 0, norm: bool = False, classes: int = CLASSES, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Two convolutions, optionally with BatchNorm, global pooling and a head; images are 1 x 6 x 6."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norms: list[nn.Module] = [nn.BatchNorm2d(4), nn.BatchNorm2d(5)] if norm else [nn.Identity(), nn.Identity()]
        layers = [
            nn.Conv2d(1, 4, 3, padding=1),
            norms[0],
            nn.ReLU(),
            nn.Conv2d(4, 5, 3, padding=1),
            norms[1],
            nn.ReLU(),
        ]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, classes)).to(dtype).eval()


def samples(
    n: int, *, seed: int = 0, multi_label: bool = False, classes: int = CLASSES, label: int | None = None
) -> Samples:
    """Return n images with labels that cycle through the classes, all `label`, or random bits."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 1, 6, 6, generator=generator, dtype=torch.float64)
    if multi_label:
        bits = torch.randint(0, 2, (n, classes), generator=generator).float()
        return list(zip(images, bits))
    return [(x, i % classes if label is None else label) for i, x in enumerate(images)]


def stack(data: Samples) -> tuple[Tensor, Tensor]:
    return torch.stack([x for x, _ in data]), torch.stack([torch.as_tensor(y) for _, y in data])


def batches(data: Samples, size: int) -> list[tuple[Tensor, Tensor]]:
    return [stack(data[i : i + size]) for i in range(0, len(data), size)]


def plain(method: str, model: nn.Module, forget: Samples, retain: Samples, **hyperparameters: Any) -> nn.Module:
    """Unlearn without shuffling, so that a plain loop over the lists sees the same batches."""
    return raybench.unlearn(
        model, method=method, forget=forget, retain=retain, **{"shuffle": False, "batch_size": 4, **hyperparameters}
    )


def make_task(
    model: nn.Module,
    forget: Samples,
    retain: Samples,
    *,
    method: str = "finetune",
    calibration: Samples | None = None,
    on_epoch: Callable[[UnlearningTask, int], str | None] | None = None,
    seed: int = 0,
    **hyperparameters: Any,
) -> tuple[UnlearningTask, dict[str, Any]]:
    """Return a task with the method's settings, and the method's arguments."""
    arguments, settings = check(method, methods.get(method), {"batch_size": 4, **hyperparameters})
    where = {"device": torch.device("cpu"), "dtype": next(model.parameters()).dtype}

    def fresh(fresh_seed: int) -> nn.Module:
        new = copy.deepcopy(model)
        models.reset(new, seed=fresh_seed)
        return new

    task = UnlearningTask(
        model,
        forget=as_split(forget, "forget", **where),
        retain=as_split(retain, "retain", **where),
        calibration=None if calibration is None else as_split(calibration, "calibration", **where),
        seed=seed,
        settings=settings,
        fresh=fresh,
        on_epoch=on_epoch,
    )
    return task, arguments


def outcome(method: str, model: nn.Module, forget: Samples, retain: Samples, **options: Any) -> Outcome:
    task, arguments = make_task(model, forget, retain, method=method, **options)
    return run(methods.get(method), task, arguments)


def short(method: str) -> dict[str, Any]:
    """Return hyperparameters that make a method's run a matter of milliseconds."""
    names = inspect.signature(methods.get(method)).parameters
    quick = {
        "epochs": 2,
        "iterations": 6,
        "overfit_epochs": 1,
        "noise_steps": 2,
        "noise_samples": 4,
        "draws": 2,
        "forget_epochs": 1,
        "repair_epochs": 1,
        "stages": 2,
    }
    return {name: value for name, value in quick.items() if name in names}


class PlainSGD:
    """Momentum and weight decay, written out."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.9, decay: float = 5e-4
    ) -> None:
        self.parameters = list(parameters)
        self.lr, self.momentum, self.decay = lr, momentum, decay
        self.velocity: list[Tensor] | None = None

    def step(self, loss: Tensor, *, masks: list[Tensor] | None = None, clip_norm: float | None = None) -> None:
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, gradients)]
        if masks is not None:
            gradients = [g * m for g, m in zip(gradients, masks)]
        if clip_norm is not None:
            norm = torch.sqrt(sum((g**2).sum() for g in gradients))
            gradients = [g * min(1.0, float(clip_norm / (norm + 1e-6))) for g in gradients]
        gradients = [g + self.decay * p.detach() for g, p in zip(gradients, self.parameters)]
        if self.velocity is None:
            self.velocity = gradients
        else:
            self.velocity = [self.momentum * v + g for v, g in zip(self.velocity, gradients)]
        with torch.no_grad():
            for p, v in zip(self.parameters, self.velocity):
                p -= self.lr * v


def distance(a: nn.Module, b: nn.Module) -> float:
    """Return the largest difference between two models' tensors."""
    pairs = zip(a.state_dict().values(), b.state_dict().values())
    return max(float((x.double() - y.double()).abs().max()) for x, y in pairs)


def assert_same(a: nn.Module, b: nn.Module, *, within: float = 1e-9) -> None:
    assert distance(a, b) < within, f"weights differ by {distance(a, b)}"
