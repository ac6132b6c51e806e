"""Predictions of unlearned, original and retrained models in, metric rows out.

A metric says by its argument names what it reads (`metrics/spec.py`); `binding.py` fills them. It is called once per
split, alpha and retrained model, and where it is not defined its reason is written instead of a number.
"""

import inspect
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from raybench.errors import UserError, format_validation_error, unknown
from raybench.fingerprints import code_fingerprint
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions import population
from raybench.metrics.functions.statistics import gap_to_reference
from raybench.scoring.binding import (
    DOWNSTREAM,
    NO_DOWNSTREAM,
    OWNERS,
    Models,
    asked,
    get_metric,
    measure,
    metric_names,
    metric_spec,
    metrics_read,
    needs,
    needs_downstream,
    owners,
    parameters,
)

__all__ = [
    "Models",
    "Row",
    "chosen_metrics",
    "code_fingerprints",
    "get_metric",
    "metric_names",
    "metric_spec",
    "owners",
    "population_rows",
    "score",
    "with_gaps",
]

Row = dict[str, Any]


def chosen_metrics(
    given: str | Sequence[str] | Mapping[str, Mapping[str, Any]], *, downstream: bool = True
) -> dict[str, dict[str, Any]]:
    """Return {name: settings} of the metrics that the experiment asks for; refuse unknown names and settings.

    `all` are those that ship with raybench, less those `on_request`; without `downstream` sets, those that need none.
    """
    if isinstance(given, str):
        shipped = [name for name in metric_names() if not metric_spec(get_metric(name)).on_request]
        return {name: {} for name in shipped if downstream or not needs_downstream(name)}
    return {name: _checked(name, dict(given[name] or {}) if isinstance(given, Mapping) else {}) for name in given}


def _checked(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return a metric's settings in the types it declares; refuse unknown ones, and arguments that nothing fills."""
    function = get_metric(name)
    allowed = [p.name for p in parameters(function) if p.default is not inspect.Parameter.empty]
    types = get_type_hints(function, include_extras=True)
    for key, value in settings.items():
        if key not in allowed:
            raise unknown(f"setting of metric {name}:", key, allowed)
        try:
            settings[key] = TypeAdapter(types.get(key, Any)).validate_python(value)
        except ValidationError as error:
            raise UserError(
                f"evaluate.metrics.{name}.{key} = {value!r}: {format_validation_error(error.errors())}"
            ) from error
    for argument in needs(function):
        asked(argument, name, split=next(iter(metric_spec(function).splits), None))
    return settings


def score(model: str, chosen: Mapping[str, Mapping[str, Any]], alphas: Sequence[float], models: Models) -> list[Row]:
    """Return one row per metric, split and alpha of one model, without its gap to the others."""
    rows: list[Row] = []
    for name, settings in chosen.items():
        function = get_metric(name)
        spec, wanted, read = metric_spec(function), needs(function), owners(name)
        settings_text = ",".join(f"{key}={value}" for key, value in sorted(settings.items()))
        splits = models.splits(spec) or [DOWNSTREAM]
        for split, alpha in itertools.product(splits, alphas if "alpha" in wanted else (None,)):
            setting = ",".join(
                part for part in (f"alpha={alpha:g}" if alpha is not None else "", settings_text) if part
            )
            row = {
                "split": split,
                "metric": name,
                "setting": setting,
                "reference": next(("retrained" if o == "shadow" else o for o in OWNERS if o in read), None),
                "protocol": spec.protocol,
                "direction": spec.direction,
            }
            try:
                if split == DOWNSTREAM:
                    raise ValueError(NO_DOWNSTREAM)
                found = measure(name, settings, model, split, alpha, models)
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


def code_fingerprints(chosen: Iterable[str]) -> dict[str, str]:
    """Return a hash of the code of each metric, of the metrics whose values it reads, and of what binds them."""
    names = list(dict.fromkeys(name for metric in chosen for name in (metric, *metrics_read(metric))))
    return {"": code_fingerprint(score), **{name: code_fingerprint(get_metric(name)) for name in names}}


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
