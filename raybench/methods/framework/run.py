"""Run one method: on the splits of an experiment, or on any torch data sets with `raybench.unlearn`."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from raybench import methods, models
from raybench.data.reading.batches import DatasetSplit, Split, seed_for
from raybench.data.reading.loaders import samples_of, with_labels
from raybench.engine.devices import Precision, autocast, resolve_device, resolve_precision
from raybench.engine.training import Recipe
from raybench.errors import UserError
from raybench.methods.framework.defaults import Training
from raybench.methods.framework.ledger import Ledger, Stopped
from raybench.methods.framework.passes import KNOWN, as_split
from raybench.methods.framework.spec import MethodSpec, check
from raybench.methods.framework.task import UnlearningTask
from raybench.registry import spec_of

Data = Dataset[Any] | DataLoader[Any] | tuple[Any, Any] | Split


@dataclass
class Outcome:
    """An unlearned model, its cost, and the reason if the run was stopped early (None otherwise)."""

    model: nn.Module
    ledger: Ledger
    stopped: str | None


def run(
    function: Callable[..., None],
    task: UnlearningTask,
    arguments: dict[str, Any],
) -> Outcome:
    """Run the method on the task; a stop by hook or budget is an outcome, other exceptions propagate."""
    kind = "multi_label" if task.multi_label else "single_label"
    if kind not in (allowed := spec_of(function, MethodSpec).targets):
        raise UserError(f"method {function.__name__} is not defined for {kind} targets (allowed: {', '.join(allowed)})")
    stopped = None
    with torch.random.fork_rng(devices=[task.device] if task.device.type == "cuda" else []):
        torch.manual_seed(seed_for("torch", task.seed))  # seeds dropout and noise
        try:
            with autocast(task.precision, task.device):
                function(task, **arguments)
        except Stopped as reason:
            stopped = str(reason)
        finally:
            model = task.close()
    return Outcome(model, task.ledger, stopped)


def unlearn(
    model: nn.Module,
    *,
    method: str | Callable[..., None],
    forget: Data,
    retain: Data,
    calibration: Data | None = None,
    training: Recipe | Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: Precision = "fp32",
    **hyperparameters: Any,
) -> nn.Module:
    """Return a copy of `model` from which `method` has unlearned the forget set; `model` does not change.

    Args:
        method: a name of `raybench.methods.names()`, an importable `package.module.function`, or the function.
        forget, retain: disjoint torch data sets of (image tensor, label), or tuples (images, labels) of arrays. Of a
            DataLoader the samples are read one by one, from its data set; its batch size, order, `drop_last`,
            `collate_fn` and workers are ignored, since `batch_size` is a setting of the method and `seed` shuffles.
        calibration: samples that no method trains on, for methods that calibrate a quantile (`cpu`).
        training: recipe of `model`, for example {"lr": 0.001, "optimizer": "adam", "epochs": 50, "batch_size": 128};
            keys and defaults are those of `train:` in an experiment. Default learning rates and durations follow it.
        precision: fp32 keeps the dtype of the model (float64 works); bf16 is mixed precision.
        hyperparameters: of the method, shared settings (`batch_size`, `momentum`, ...) or `preset`.

    The returned model has the train/eval flags, dtype and `requires_grad` flags of `model`. Raise UserError for an
    unknown method or hyperparameter, and for data that is empty, has no labels or can be read only once.
    """
    function = methods.get(method) if isinstance(method, str) else method
    where = resolve_device(device)
    original = copy.deepcopy(model).to(where)
    dtype = next(original.parameters()).dtype

    def split(data: Data, role: str) -> Split:
        known = data if isinstance(data, KNOWN | DatasetSplit) else with_labels(samples_of(data, role), role)
        return as_split(known, role, device=where, dtype=dtype)

    forgotten, retained = split(forget, "forget"), split(retain, "retain")
    known = Training(Recipe.model_validate(training or {}), num_forget=len(forgotten), num_retain=len(retained))
    name = method if isinstance(method, str) else method.__name__
    arguments, settings = check(name, function, hyperparameters, known)

    def fresh(fresh_seed: int) -> nn.Module:
        new = copy.deepcopy(original)
        models.reset(new, seed=fresh_seed)
        return new

    task = UnlearningTask(
        original,
        forget=forgotten,
        retain=retained,
        calibration=None if calibration is None else split(calibration, "calibration"),
        seed=seed,
        settings=settings,
        training=known,
        precision=resolve_precision(precision, where),
        fresh=fresh,
    )
    return run(function, task, arguments).model
