"""What a metric's argument names ask for, and where it is: stored predictions, other metrics, facts of the data.

The names themselves are the contract of `metrics/spec.py`.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raybench import metrics, registry
from raybench.data.splits import ROLES
from raybench.engine.prediction import Predictions
from raybench.errors import UserError
from raybench.metrics.framework.spec import Estimate, MetricSpec

Metric = Callable[..., Estimate | Mapping[str, Estimate]]
Found = Mapping[str, Estimate]  # by what completes the metric's name

ARRAYS = ("logits", "labels", "features", "groups")
OWNERS = ("original", "retrained", "shadow", "untrained")
WEIGHTS = "weights"
GIVEN = ("alpha", "num_classes", "class_values")
VALUES = "_values"  # ends the name of an argument that is another metric's result
DOWNSTREAM = "downstream"  # among a metric's splits: every downstream set of the experiment
NO_DOWNSTREAM = "the experiment has no downstream sets (evaluate.downstream)"


def metric_names() -> list[str]:
    """Return the names of the metrics that ship with raybench."""
    return list(registry.discover(metrics.__name__, MetricSpec))


def get_metric(name: str) -> Metric:
    """Return a metric by name, built in or the user's own (`package.module.function`)."""
    return registry.find("metric", name, metrics.__name__, MetricSpec)


def metric_spec(function: Metric) -> MetricSpec:
    return registry.spec_of(function, MetricSpec)


def parameters(function: Metric) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def needs(function: Metric) -> list[str]:
    """Return the arguments that are filled from what is stored; the others have a default and are settings."""
    return [p.name for p in parameters(function) if p.default is inspect.Parameter.empty]


@dataclass(frozen=True)
class Asked:
    """What one argument asks for: of whom (None: the model itself), on which split, which array or metric."""

    owner: str | None
    split: str
    array: str

    @property
    def metric(self) -> str | None:
        """Return the metric whose values are asked for, if they are."""
        return self.array.removesuffix(VALUES) if self.array.endswith(VALUES) and self.array not in GIVEN else None


def asked(argument: str, metric: str, *, split: str | None) -> Asked:
    """Read an argument's name; raises UserError where nothing is called so."""
    if argument in GIVEN:
        return Asked(None, "", argument)
    owner = next((name for name in OWNERS if argument.startswith(f"{name}_")), None)
    rest = argument.removeprefix(f"{owner}_")
    if rest.endswith(VALUES) and rest.removesuffix(VALUES) in set(metric_names()) - {metric}:
        return Asked(owner, "", rest)
    if rest == WEIGHTS and owner in (None, "original", "retrained"):
        return Asked(owner, "", WEIGHTS)
    role = next((name for name in ROLES if rest.startswith(f"{name}_")), None)
    array = rest.removeprefix(f"{role}_")
    if array not in ARRAYS or (role is None and split is None):
        where = "" if array not in ARRAYS else "; without a role it needs splits=(...) in @metric"
        raise UserError(
            f"metric {metric}: its argument {argument!r} names nothing that is stored (allowed: {', '.join(GIVEN)}, "
            f"[{'|'.join(f'{name}_' for name in OWNERS)}][<role>_]<array>, [original_|retrained_]{WEIGHTS}, or "
            f"[original_|retrained_]<metric>{VALUES}; roles: {', '.join(ROLES)}; arrays: {', '.join(ARRAYS)}; a "
            f"setting needs a default){where}"
        )
    return Asked(owner, role or str(split), array)


def owners(name: str) -> set[str]:
    """Return which references a metric reads, itself or through the metrics whose values it reads."""
    found: set[str] = set()
    for argument in needs(get_metric(name)):
        part = asked(argument, name, split="")
        found |= {part.owner} if part.owner else owners(part.metric) if part.metric else set()
    return found


def metrics_read(name: str) -> list[str]:
    """Return the metrics whose values a metric reads, directly or through others."""
    direct = [part for argument in needs(get_metric(name)) if (part := asked(argument, name, split="").metric)]
    return [read for part in direct for read in (part, *metrics_read(part))]


def needs_downstream(name: str) -> bool:
    """Say whether a metric can only be computed where the experiment has downstream sets."""
    function = get_metric(name)
    parts = (asked(argument, name, split="").metric for argument in needs(function))
    return metric_spec(function).splits == (DOWNSTREAM,) or any(needs_downstream(part) for part in parts if part)


@dataclass(frozen=True)
class Models:
    """Keys of the models that a model is scored against, how to read any model's predictions, facts of the data."""

    read: Callable[[str, str], Predictions]
    original: str
    retrained: tuple[str, ...]
    groups: np.ndarray | None
    num_classes: int
    class_names: tuple[str, ...] = ()
    downstream: tuple[str, ...] = ()  # the roles by which downstream sets are read
    untrained: str | None = None  # where a metric asks for it
    weights: Callable[[str], Mapping[str, np.ndarray]] | None = None
    known: dict[Any, Found] = field(default_factory=dict, compare=False)  # results, since metrics read each other's

    def splits(self, spec: MetricSpec) -> list[str | None]:
        """Return where a metric is computed: None where it is once per model, every downstream set by its role."""
        named = ([*self.downstream] if split == DOWNSTREAM else [split] for split in spec.splits)
        return [split for part in named for split in part] if spec.splits else [None]

    def others(self, model: str) -> list[str]:
        """Return the retrained models but the given one; raises ValueError, which is a row's reason, without any."""
        found = [key for key in self.retrained if key != model]
        if not found:
            raise ValueError("there is no retrained model to compare with (train.retrained_seeds)")
        return found


def measure(
    name: str, settings: Mapping[str, Any], model: str, split: str | None, alpha: float | None, models: Models
) -> Found:
    """Compute one metric of one model on one split, averaged over the retrained models where it reads one.

    Raises ValueError, with the reason, where it is not defined.
    """
    if "retrained" not in owners(name):
        return _once(name, settings, model, split, alpha, None, models)
    results = [_once(name, settings, model, split, alpha, key, models) for key in models.others(model)]
    return {suffix: _mean([result[suffix] for result in results]) for suffix in results[0]}


def _once(
    name: str,
    settings: Mapping[str, Any],
    model: str,
    split: str | None,
    alpha: float | None,
    retrained: str | None,
    models: Models,
) -> Found:
    key = (name, repr(sorted(settings.items())), model, split, alpha, retrained)
    if key not in models.known:
        function = get_metric(name)
        wanted = {argument: asked(argument, name, split=split) for argument in needs(function)}
        given = {argument: _bound(part, model, alpha, retrained, models) for argument, part in wanted.items()}
        found = function(**given, **settings)
        models.known[key] = {"": found} if isinstance(found, Estimate) else dict(found)
    return models.known[key]


def _bound(part: Asked, model: str, alpha: float | None, retrained: str | None, models: Models) -> Any:
    if part.array in GIVEN:
        values = {"alpha": alpha, "num_classes": models.num_classes}
        return class_values(models.class_names) if part.array == "class_values" else values[part.array]
    if part.owner == "shadow":
        return [getattr(models.read(key, part.split), part.array) for key in models.others(model)]
    key = {"original": models.original, "retrained": retrained, "untrained": models.untrained, None: model}[part.owner]
    assert key is not None
    if part.array == WEIGHTS:
        assert models.weights is not None
        return models.weights(key)
    if part.metric:
        return _values(part.metric, key, retrained if "retrained" in owners(part.metric) else None, models)
    stored = models.read(key, part.split)
    if part.array == "groups":
        if models.groups is None or part.split in models.downstream:
            raise ValueError("the data set has no groups (identities)")
        return models.groups[stored.ids]
    return getattr(stored, part.array)


def _values(name: str, model: str, retrained: str | None, models: Models) -> float | dict[str, float]:
    """Return a metric at its default settings: by split, or the one number of a metric of the whole model."""
    where = models.splits(metric_spec(get_metric(name)))
    if not where:
        raise ValueError(NO_DOWNSTREAM)
    found = {split: float(_once(name, {}, model, split, None, retrained, models)[""].value) for split in where}
    if undefined := [f"{name} on {split or 'the model'}" for split, value in found.items() if not math.isfinite(value)]:
        raise ValueError(f"{undefined[0]} is no number")
    return found[None] if None in found else {str(split): value for split, value in found.items()}


def class_values(names: Iterable[str]) -> np.ndarray:
    """Return the numbers that class names are, float64 (C,); raises ValueError where they are not all numbers."""
    values = []
    for name in names:
        try:
            values.append(float(name))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise ValueError(f"class names are no numbers ({name!r})")
    return np.array(values)


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """Average over retrained models; the interval is the average one, which ignores that they differ."""
    if len(estimates) == 1:
        return estimates[0]
    value, low, high = (float(np.mean([getattr(e, part) for e in estimates])) for part in ("value", "low", "high"))
    return Estimate(value, low, high, estimates[0].n, f"{estimates[0].interval}, mean over {len(estimates)} retrained")
