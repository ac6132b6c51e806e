"""Predictions of unlearned, original and retrained models in, metric rows out.

A metric says by its argument names what it reads (`metrics/spec.py`); this room binds those names to stored
predictions, calls it once per split, alpha and retrained model, and writes a reason where it is not defined.
"""

import hashlib
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from raybench import metrics, registry
from raybench.data.splits import ROLES
from raybench.errors import UserError, unknown
from raybench.explaining import in_words
from raybench.metrics import population
from raybench.metrics.spec import Estimate, MetricSpec
from raybench.metrics.statistics import gap_to_reference
from raybench.prediction import Predictions

Row = dict[str, Any]
Metric = Callable[..., Estimate | Mapping[str, Estimate]]
ARRAYS = ("logits", "labels", "features", "groups")
OWNERS = ("original", "retrained")
GIVEN = ("alpha", "num_classes")


def metric_names() -> list[str]:
    """Return the names of the metrics that ship with raybench."""
    return list(registry.discover(metrics.__name__, MetricSpec))


def get_metric(name: str) -> Metric:
    """Return a metric by name, built in or the user's own (`package.module.function`)."""
    return registry.find("metric", name, metrics.__name__, MetricSpec)


def metric_spec(function: Metric) -> MetricSpec:
    return function.raybench_spec  # type: ignore[attr-defined, no-any-return]


def chosen_metrics(given: str | Sequence[str] | Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return {name: settings} of the metrics that the experiment asks for; refuse unknown names and settings."""
    if isinstance(given, str):
        return {name: {} for name in metric_names()}
    return {name: _checked(name, dict(given[name] or {}) if isinstance(given, Mapping) else {}) for name in given}


def _checked(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return a metric's settings in the types it declares; refuse unknown ones, and arguments that nothing fills."""
    function = get_metric(name)
    allowed = [p.name for p in _parameters(function) if p.default is not inspect.Parameter.empty]
    types = get_type_hints(function, include_extras=True)
    for key, value in settings.items():
        if key not in allowed:
            raise unknown(f"setting of metric {name}:", key, allowed)
        try:
            settings[key] = TypeAdapter(types.get(key, Any)).validate_python(value)
        except ValidationError as error:
            raise UserError(f"evaluate.metrics.{name}.{key} = {value!r}: {in_words(error.errors())}") from error
    for argument in _needs(function):
        _stored(argument, name, split=next(iter(metric_spec(function).splits), None))
    return settings


def _stored(argument: str, metric: str, *, split: str | None) -> tuple[str | None, str, str]:
    """Return (owner, role, array) of the stored predictions that an argument's name asks for."""
    if argument in GIVEN:
        return None, "", argument
    owner = next((name for name in OWNERS if argument.startswith(f"{name}_")), None)
    rest = argument.removeprefix(f"{owner}_")
    role = next((name for name in ROLES if rest.startswith(f"{name}_")), None)
    array = rest.removeprefix(f"{role}_")
    if array not in ARRAYS or (role is None and split is None):
        where = "" if array not in ARRAYS else "; without a role it needs splits=(...) in @metric"
        raise UserError(
            f"metric {metric}: its argument {argument!r} names nothing that is stored (allowed: {', '.join(GIVEN)}, or "
            f"[original_|retrained_][<role>_]<array>; roles: {', '.join(ROLES)}; arrays: {', '.join(ARRAYS)}; a "
            f"setting needs a default){where}"
        )
    return owner, role or str(split), array


def _parameters(function: Metric) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _needs(function: Metric) -> list[str]:
    return [p.name for p in _parameters(function) if p.default is inspect.Parameter.empty]


@dataclass(frozen=True)
class Models:
    """Keys of the models that a model is scored against, and how to read any model's predictions."""

    read: Callable[[str, str], Predictions]
    original: str
    retrained: tuple[str, ...]
    groups: np.ndarray | None
    num_classes: int


def score(model: str, chosen: Mapping[str, Mapping[str, Any]], alphas: Sequence[float], models: Models) -> list[Row]:
    """Return one row per metric, split and alpha of one model, without its gap to the others."""
    rows: list[Row] = []
    for name, settings in chosen.items():
        function = get_metric(name)
        spec, needs = metric_spec(function), _needs(function)
        settings_text = ",".join(f"{key}={value}" for key, value in sorted(settings.items()))
        for split, alpha in itertools.product(spec.splits or (None,), alphas if "alpha" in needs else (None,)):
            setting = ",".join(
                part for part in (f"alpha={alpha:g}" if alpha is not None else "", settings_text) if part
            )
            reference = next((owner for owner in OWNERS if any(n.startswith(f"{owner}_") for n in needs)), None)
            row = {
                "split": split,
                "metric": name,
                "setting": setting,
                "reference": reference,
                "protocol": spec.protocol,
                "direction": spec.direction,
            }
            try:
                found = _call(function, needs, dict(settings), model, split, alpha, models)
            except UserError:  # the storage failed: that is no result
                raise
            except ValueError as error:  # the metric is not defined on this input: its reason is the result
                rows.append({**row, "reason": str(error)})
                continue
            for suffix, estimate in found.items():
                rows.append({**row, "metric": name + suffix, **_columns(estimate)})
    return rows


def _columns(estimate: Estimate) -> Row:
    numbers = {
        key: float(value) if math.isfinite(value) else None
        for key, value in (("value", estimate.value), ("low", estimate.low), ("high", estimate.high))
    }
    reason = None if numbers["value"] is not None else f"the metric gave {estimate.value}"
    return {**numbers, "n": int(estimate.n), "interval": estimate.interval, "reason": reason}


def _call(
    function: Metric,
    needs: Sequence[str],
    settings: dict[str, Any],
    model: str,
    split: str | None,
    alpha: float | None,
    models: Models,
) -> Mapping[str, Estimate]:
    def bind(name: str, retrained: str | None) -> Any:
        owner, role, array = _stored(name, function.__name__, split=split)
        if array in GIVEN:
            return {"alpha": alpha, "num_classes": models.num_classes}[array]
        key = {"original": models.original, "retrained": retrained, None: model}[owner]
        assert key is not None
        stored = models.read(key, role)
        if array == "groups":
            if models.groups is None:
                raise ValueError("the data set has no groups (identities)")
            return models.groups[stored.ids]
        return getattr(stored, array)

    def once(retrained: str | None) -> dict[str, Estimate]:
        found = function(**{name: bind(name, retrained) for name in needs}, **settings)
        return {"": found} if isinstance(found, Estimate) else dict(found)

    if not any(name.startswith("retrained_") for name in needs):
        return once(None)
    others = [key for key in models.retrained if key != model]
    if not others:
        raise ValueError("there is no retrained model to compare with (train.retrained_seeds)")
    results = [once(key) for key in others]
    return {suffix: _mean([result[suffix] for result in results]) for suffix in results[0]}


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """Average over retrained models; the interval is the average one, which ignores that they differ."""
    if len(estimates) == 1:
        return estimates[0]
    value, low, high = (float(np.mean([getattr(e, part) for e in estimates])) for part in ("value", "low", "high"))
    return Estimate(value, low, high, estimates[0].n, f"{estimates[0].interval}, mean over {len(estimates)} retrained")


def population_rows(found: Mapping[str, Estimate], *, reason: str | None = None) -> list[Row]:
    """Return the rows of a population's statistics; their gap to the retrained is their own `_excess`."""
    specs = population.specs()

    def row(name: str) -> Row:
        base = next(name.removesuffix(part) for part in ("_null", "_excess", "_control", "") if name.endswith(part))
        spec = specs[base]
        known = {"split": "forget", "metric": name, "setting": "population", "reference": "retrained"}
        return {**known, "protocol": spec.protocol, "direction": spec.direction}

    if reason is not None:
        return [{**row(name), "reason": reason} for name in specs]
    return [{**row(name), **_columns(estimate)} for name, estimate in found.items()]


def metrics_fingerprint() -> str:
    """Return a hash of the whole metrics package: a metric's numbers depend on more than its own file."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(metrics.__path__[0]).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def with_gaps(rows: Iterable[Row]) -> list[Row]:
    """Add to each row its signed gap to the retrained models of the same metric, split and setting.

    A retrained model's own gap is to the others, so that its rows are the noise floor.
    """
    rows = list(rows)
    reference: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        if row["kind"] == "retrained" and row.get("value") is not None:
            reference.setdefault(_cell(row), {})[row["model"]] = row["value"]
    out = []
    for row in rows:
        others = [value for model, value in reference.get(_cell(row), {}).items() if model != row["model"]]
        if row.get("value") is None or not others:
            out.append(row)
            continue
        gap = gap_to_reference(row["value"], others)
        low, high = (value if math.isfinite(value) else None for value in (gap.low, gap.high))
        found = {"gap": gap.gap, "gap_low": low, "gap_high": high, "gap_n": len(others), "gap_interval": gap.interval}
        out.append({**row, **found})
    return out


def _cell(row: Row) -> tuple[Any, ...]:
    return row["metric"], row["split"], row["setting"]


def average_gap_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one `average_gap` row per model: the mean absolute gap, in points, of UA, RA, TA and the attack's AUC.

    (Jia et al. 2023 and Fan et al. 2024 call it "Avg. Gap"; there the reference is one retrained model.) The interval
    is that of the four gaps, each taken to be independent.
    """
    parts = {("accuracy", "forget"), ("accuracy", "retain"), ("accuracy", "test"), ("mia_auc", None)}
    found: dict[str, list[Row]] = {}
    for row in rows:
        if (row["metric"], row["split"]) in parts and row.get("gap") is not None:
            found.setdefault(row["model"], []).append(row)
    out = []
    for cells in found.values():
        if len(cells) < len(parts):
            continue
        identity = {key: cells[0][key] for key in ("model", "name", "kind", "method", "seed")}
        widths = [(c["gap_high"] - c["gap_low"]) / 2 if c["gap_high"] is not None else math.nan for c in cells]
        value = 100 * float(np.mean([abs(c["gap"]) for c in cells]))
        half = 100 * float(np.sqrt(np.sum(np.square(widths)))) / len(cells)
        known = math.isfinite(half)
        out.append(
            {
                **identity,
                "split": None,
                "metric": "average_gap",
                "setting": "",
                "reference": "retrained",
                "protocol": "corrected",
                "direction": "lower",
                "value": value,
                "low": max(0.0, value - half) if known else None,
                "high": value + half if known else None,
                "n": len(cells),
                "interval": "root of summed squares of the four gaps' half-widths"
                if known
                else "none: one retrained model",
                "reason": None,
            }
        )
    return out
