"""Bind the arguments of a metric, by their names, to stored predictions, other metrics and constants of the data.

`raybench.metrics.framework.spec` documents the argument names.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from raybench import metrics, registry
from raybench.data.splits import ROLES
from raybench.errors import UserError
from raybench.metrics.framework.spec import Estimate, MetricSpec
from raybench.metrics.framework.streaming import Named, Streamed, named
from raybench.metrics.functions.references import mean_over_references

Metric = Callable[..., Estimate | Mapping[str, Estimate]]
Estimates = Mapping[str, Estimate]  # by the suffix that follows the metric's name

ARRAYS = ("logits", "labels", "features", "groups")
REFERENCES = ("original", "retrained", "shadow", "untrained")
WEIGHTS = "weights"
CONSTANTS = ("alpha", "num_classes", "class_values")
VALUES = "_values"  # suffix of an argument that is another metric's result
DOWNSTREAM = "downstream"  # as a split of a metric: every downstream set of the experiment
NO_DOWNSTREAM = "the experiment has no downstream sets (evaluate.downstream)"


def metric_names() -> list[str]:
    """Return the names of the metrics that ship with raybench."""
    return list(registry.discover(metrics.__name__, MetricSpec))


def get_metric(name: str) -> Metric:
    """Return a metric by name, built in or user-defined (`package.module.function`)."""
    return registry.find("metric", name, metrics.__name__, MetricSpec)


def metric_spec(function: Metric) -> MetricSpec:
    """Return the spec that `@metric` attached to the function."""
    return registry.spec_of(function, MetricSpec)


def parameters(function: Metric) -> list[inspect.Parameter]:
    """Return the parameters of a metric: inputs without a default, settings with one."""
    return list(inspect.signature(function).parameters.values())


def input_names(function: Metric) -> list[str]:
    """Return the arguments that are filled from stored data; arguments with a default are settings."""
    return [p.name for p in parameters(function) if p.default is inspect.Parameter.empty]


@dataclass(frozen=True)
class MetricInput:
    """One input of a metric: which model (None: the scored model), which split, which array or metric."""

    reference: str | None
    split: str
    array: str

    @property
    def metric(self) -> str | None:
        """Return the name of the metric whose values this input is, or None for an array or a constant."""
        is_values = self.array.endswith(VALUES) and self.array not in CONSTANTS
        return self.array.removesuffix(VALUES) if is_values else None


def parse_input(argument: str, metric: str, *, split: str | None) -> MetricInput:
    """Parse the name of an argument; raise UserError for a name that refers to nothing stored."""
    if argument in CONSTANTS:
        return MetricInput(None, "", argument)
    reference = next((name for name in REFERENCES if argument.startswith(f"{name}_")), None)
    rest = argument.removeprefix(f"{reference}_")
    if rest.endswith(VALUES) and rest.removesuffix(VALUES) in set(metric_names()) - {metric}:
        return MetricInput(reference, "", rest)
    if rest == WEIGHTS and reference in (None, "original", "retrained"):
        return MetricInput(reference, "", WEIGHTS)
    role = next((name for name in ROLES if rest.startswith(f"{name}_")), None)
    array = rest.removeprefix(f"{role}_")
    if array not in ARRAYS or (role is None and split is None):
        hint = "" if array not in ARRAYS else "; without a role it needs splits=(...) in @metric"
        raise UserError(
            f"metric {metric}: its argument {argument!r} refers to nothing that is stored (allowed: "
            f"{', '.join(CONSTANTS)}, [{'|'.join(f'{name}_' for name in REFERENCES)}][<role>_]<array>, "
            f"[original_|retrained_]{WEIGHTS}, or [original_|retrained_]<metric>{VALUES}; roles: {', '.join(ROLES)}; "
            f"arrays: {', '.join(ARRAYS)}; a setting needs a default){hint}"
        )
    return MetricInput(reference, role or str(split), array)


def references_read(name: str) -> set[str]:
    """Return the reference models that a metric reads, directly or through the metrics whose values it reads."""
    references: set[str] = set()
    for argument in input_names(get_metric(name)):
        source = parse_input(argument, name, split="")
        if source.reference:
            references.add(source.reference)
        elif source.metric:
            references |= references_read(source.metric)
    return references


def metrics_read(name: str) -> list[str]:
    """Return the metrics whose values a metric reads, directly or through others."""
    sources = (parse_input(argument, name, split="") for argument in input_names(get_metric(name)))
    direct = [source.metric for source in sources if source.metric]
    return [read for metric in direct for read in (metric, *metrics_read(metric))]


def needs_downstream(name: str) -> bool:
    """Return whether a metric is defined only for experiments with downstream sets."""
    function = get_metric(name)
    components = (parse_input(argument, name, split="").metric for argument in input_names(function))
    return metric_spec(function).splits == (DOWNSTREAM,) or any(needs_downstream(part) for part in components if part)


@dataclass(frozen=True)
class Models:
    """The reference models by key, access to the predictions of any model, and constants of the data.

    `original` is the scored model's own original.
    """

    read: Callable[[str, str], Any]  # Predictions, or what has their attributes
    original: str
    retrained: tuple[str, ...]
    groups: np.ndarray | None
    num_classes: int
    class_names: tuple[str, ...] = ()
    downstream: tuple[str, ...] = ()  # roles under which downstream sets are stored
    untrained: str | None = None  # set where a metric reads it
    weights: Callable[[str], Mapping[str, np.ndarray]] | None = None
    known: dict[Any, Estimates] = field(default_factory=dict, compare=False)  # cache: metrics read each other's values

    def splits(self, spec: MetricSpec) -> list[str | None]:
        """Return the splits of a metric: None for a metric of the whole model, each downstream set by its role."""
        names = ([*self.downstream] if split == DOWNSTREAM else [split] for split in spec.splits)
        return [split for part in names for split in part] if spec.splits else [None]

    def others(self, model: str) -> list[str]:
        """Return the retrained models except `model`; raise ValueError (the reason of a row) if there are none."""
        keys = [key for key in self.retrained if key != model]
        if not keys:
            raise ValueError("there is no retrained model to compare with (train.retrained_seeds)")
        return keys


class Measured(NamedTuple):
    """An estimate and, for a metric that reads one retrained model at a time, its value against each of them."""

    estimate: Estimate
    by_retrained: tuple[float | None, ...] | None = None  # in the order of `Models.retrained`; None: the model itself


def compute_metric(
    name: str, settings: Mapping[str, Any], model: str, split: str | None, alpha: float | None, models: Models
) -> dict[str, Measured]:
    """Compute one metric of one model on one split, by suffix; average over the retrained models if it reads one.

    Raise ValueError, with the reason, where the metric is undefined.
    """
    if "retrained" not in references_read(name):
        once = _compute_once(name, settings, model, split, alpha, None, models)
        return {suffix: Measured(estimate) for suffix, estimate in once.items()}
    spec, others = metric_spec(get_metric(name)), models.others(model)
    results = {key: _compute_once(name, settings, model, split, alpha, key, models) for key in others}
    measured = {}
    for suffix in results[others[0]]:
        mean = mean_over_references([results[key][suffix] for key in others], low=spec.low, high=spec.high)
        each = tuple(float(results[key][suffix].value) if key != model else None for key in models.retrained)
        measured[suffix] = Measured(mean, each)
    return measured


def _compute_once(
    name: str,
    settings: Mapping[str, Any],
    model: str,
    split: str | None,
    alpha: float | None,
    retrained: str | None,
    models: Models,
) -> Estimates:
    original = models.original if "original" in references_read(name) else None
    key = (name, repr(sorted(settings.items())), model, split, alpha, retrained, original)
    if key not in models.known:
        function = get_metric(name)
        inputs = {argument: parse_input(argument, name, split=split) for argument in input_names(function)}
        arguments = {argument: _fetch(source, model, alpha, retrained, models) for argument, source in inputs.items()}
        result = function(**arguments, **settings)
        models.known[key] = {"": result} if isinstance(result, Estimate) else dict(result)
    return models.known[key]


def _fetch(source: MetricInput, model: str, alpha: float | None, retrained: str | None, models: Models) -> Any:
    if source.array in CONSTANTS:
        values = {"alpha": alpha, "num_classes": models.num_classes}
        return class_values(models.class_names) if source.array == "class_values" else values[source.array]
    if source.reference == "shadow":
        read = (getattr(models.read(key, source.split), source.array) for key in models.others(model))
        return [_of_reference(array, "shadow") for array in read]
    keys = {"original": models.original, "retrained": retrained, "untrained": models.untrained, None: model}
    key = keys[source.reference]
    assert key is not None
    if source.array == WEIGHTS:
        assert models.weights is not None
        return models.weights(key)
    if source.metric:
        return _metric_values(
            source.metric, key, retrained if "retrained" in references_read(source.metric) else None, models
        )
    stored = models.read(key, source.split)
    if source.array == "groups":
        if models.groups is None or source.split in models.downstream:
            raise ValueError("the data set has no groups (identities)")
        return models.groups[stored.ids]
    return _of_reference(getattr(stored, source.array), source.reference)


def _of_reference(array: Any, reference: str | None) -> Any:
    """Return an array of a run with large splits as that of a reference model; other arrays know no source."""
    if isinstance(array, Streamed):
        return array.of(reference)
    if isinstance(array, Named) and array.source is not None:
        return named(array, array.source._replace(reference=reference), array.model)
    return array


def _metric_values(name: str, model: str, retrained: str | None, models: Models) -> float | dict[str, float]:
    """Return a metric at its default settings: by split, or one number for a metric of the whole model."""
    splits = models.splits(metric_spec(get_metric(name)))
    if not splits:
        raise ValueError(NO_DOWNSTREAM)
    values = {
        split: float(_compute_once(name, {}, model, split, None, retrained, models)[""].value) for split in splits
    }
    if undefined := [
        f"{name} on {split or 'the model'}" for split, value in values.items() if not math.isfinite(value)
    ]:
        raise ValueError(f"{undefined[0]} is not a finite number")
    return values[None] if None in values else {str(split): value for split, value in values.items()}


def class_values(names: Iterable[str]) -> np.ndarray:
    """Parse class names as numbers, float64 (C,); raise ValueError if one is not a finite number."""
    values = []
    for name in names:
        try:
            values.append(float(name))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise ValueError(f"class names are not numbers ({name!r})")
    return np.array(values)
