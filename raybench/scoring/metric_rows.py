"""Compute metric rows from stored predictions of unlearned, original and retrained models, and their gaps.

The argument names of a metric say what it reads; `binding` fills them. A metric is called once per split, alpha and
retrained model. Where it is undefined, its row has the reason instead of a value.
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
from raybench.metrics.framework.streaming import WholeArrayNeeded
from raybench.metrics.functions import population
from raybench.scoring.binding import (
    DOWNSTREAM,
    NO_DOWNSTREAM,
    REFERENCES,
    Models,
    compute_metric,
    get_metric,
    input_names,
    metric_names,
    metric_spec,
    metrics_read,
    needs_downstream,
    parameters,
    parse_input,
    references_read,
)
from raybench.scoring.pairs import gap_to_rows

__all__ = [
    "Models",
    "Row",
    "chosen_metrics",
    "code_fingerprints",
    "get_metric",
    "metric_names",
    "metric_spec",
    "metrics_read",
    "population_rows",
    "references_read",
    "score",
    "with_gaps",
]

Row = dict[str, Any]


def chosen_metrics(
    selection: str | Sequence[str] | Mapping[str, Mapping[str, Any]], *, downstream: bool = True
) -> dict[str, dict[str, Any]]:
    """Return {name: settings} of the metrics that an experiment selects; raise UserError for unknown names or settings.

    `all` selects every metric that ships with raybench except those `on_request` and, if there are no `downstream`
    sets, those that need them.
    """
    if isinstance(selection, str):
        names = [name for name in metric_names() if not metric_spec(get_metric(name)).on_request]
        return {name: {} for name in names if downstream or not needs_downstream(name)}
    settings = selection if isinstance(selection, Mapping) else {}
    return {name: _validated(name, dict(settings.get(name) or {})) for name in selection}


def _validated(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Convert the settings of a metric to their declared types; raise UserError for unknown settings or inputs."""
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
    for argument in input_names(function):
        parse_input(argument, name, split=next(iter(metric_spec(function).splits), None))
    return settings


def score(model: str, chosen: Mapping[str, Mapping[str, Any]], alphas: Sequence[float], models: Models) -> list[Row]:
    """Return one row per metric, split and alpha of one model; `with_gaps` adds the gaps."""
    rows: list[Row] = []
    for name, settings in chosen.items():
        function = get_metric(name)
        spec, inputs, references = metric_spec(function), input_names(function), references_read(name)
        settings_text = ",".join(f"{key}={value}" for key, value in sorted(settings.items()))
        splits = models.splits(spec) or [DOWNSTREAM]
        for split, alpha in itertools.product(splits, alphas if "alpha" in inputs else (None,)):
            setting = ",".join(
                part for part in (f"alpha={alpha:g}" if alpha is not None else "", settings_text) if part
            )
            row = {
                "split": split,
                "metric": name,
                "setting": setting,
                "reference": next(("retrained" if r == "shadow" else r for r in REFERENCES if r in references), None),
                "protocol": spec.protocol,
                "direction": spec.direction,
            }
            try:
                if split == DOWNSTREAM:
                    raise ValueError(NO_DOWNSTREAM)
                measured = compute_metric(name, settings, model, split, alpha, models)
            except UserError:  # the storage failed, which must not become a result
                raise
            except WholeArrayNeeded as error:
                kept = f" (evaluate.keep: {{{error.source.role}: {error.source.array}}})" if error.source else ""
                rows.append({**row, "reason": f"{error}, which is not stored{kept}"})
                continue
            except ValueError as error:  # the metric is undefined on this input: the row states why
                rows.append({**row, "reason": str(error)})
                continue
            for suffix, (estimate, each) in measured.items():
                by_retrained = None if each is None else list(each)
                rows.append({**row, "metric": name + suffix, **_columns(estimate), "by_retrained": by_retrained})
    return rows


def _columns(estimate: Estimate) -> Row:
    numbers = {
        key: float(value) if math.isfinite(value) else None
        for key, value in (("value", estimate.value), ("low", estimate.low), ("high", estimate.high))
    }
    reason = None if numbers["value"] is not None else f"the metric returned {estimate.value}"
    return {**numbers, "n": int(estimate.n), "interval": estimate.interval, "reason": reason}


def population_rows(estimates: Mapping[str, Estimate], *, reason: str | None = None) -> list[Row]:
    """Return the rows of a population's statistics; `_excess` plays the role of the gap to the retrained models."""
    specs = population.specs()

    def row(name: str) -> Row:
        base = next(name.removesuffix(part) for part in ("_null", "_excess", "_control", "") if name.endswith(part))
        spec = specs[base]
        identity = {"split": "forget", "metric": name, "setting": "population", "reference": "retrained"}
        return {**identity, "protocol": spec.protocol, "direction": spec.direction}

    if reason is not None:
        return [{**row(name), "reason": reason} for name in specs]
    return [{**row(name), **_columns(estimate)} for name, estimate in estimates.items()]


def code_fingerprints(chosen: Iterable[str]) -> dict[str, str]:
    """Return a code hash of each metric, of the metrics whose values it reads and, under "", of this module."""
    names = list(dict.fromkeys(name for metric in chosen for name in (metric, *metrics_read(metric))))
    return {"": code_fingerprint(score), **{name: code_fingerprint(get_metric(name)) for name in names}}


def with_gaps(rows: Iterable[Row]) -> list[Row]:
    """Add to each row its signed gap to the mean of the retrained models in the same metric, split and setting.

    Retrained models are compared with the other retrained models (leave-one-out): their gaps are the noise floor. A
    metric that compares models with each retrained model (`by_retrained`) is compared with the pairs among these.
    """
    rows = list(rows)
    references: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["kind"] == "retrained" and row.get("value") is not None:
            references.setdefault(_cell(row), []).append(row)
    rows_with_gaps = []
    for row in rows:
        others = [other for other in references.get(_cell(row), []) if other["model"] != row["model"]]
        if row.get("value") is None or not others:
            rows_with_gaps.append(row)
            continue
        gap = gap_to_rows([row], others)
        low, high = (value if math.isfinite(value) else None for value in (gap.low, gap.high))
        columns = {"gap": gap.gap, "gap_low": low, "gap_high": high, "gap_n": len(others), "gap_interval": gap.interval}
        rows_with_gaps.append({**row, **columns})
    return rows_with_gaps


def _cell(row: Row) -> tuple[Any, ...]:
    return row["metric"], row["split"], row["setting"]
