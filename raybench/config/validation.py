"""Checks that span several sections of an experiment: methods and metrics exist, and values fit together.

They are apart from the schema because methods and metrics take a second to import.
"""

import math
from collections.abc import Mapping
from typing import Any

from raybench import limits, methods
from raybench.config.schema import ALL, METHOD, SEARCH, Experiment
from raybench.config.spaces import Space
from raybench.engine import audit
from raybench.errors import UserError, attach_key, unknown
from raybench.methods.framework.defaults import Training
from raybench.methods.framework.spec import check as check_method
from raybench.methods.framework.spec import shipped_ranges
from raybench.scoring import metric_rows


def parse_experiment(content: Mapping[str, Any]) -> Experiment:
    """Return the experiment of a file's content (without `extends` and `smoke`), fully checked.

    Raises pydantic's ValidationError for the mistakes within sections, all at once, and UserError, with its key, for
    the first mistake across sections.
    """
    experiment = _expand(Experiment.model_validate(content))
    for section in ("train", "methods"):
        _require_finite(experiment.model_dump(include={section}))
    _require_finite(experiment.train.retrained_recipe.model_dump(), "train", "retrained")
    for name, values in experiment.methods.items():
        if not experiment.checkpoints(name):
            _check_method(name, experiment.function_name(name), {k: v for k, v in values.items() if k != METHOD})
    with attach_key("evaluate", "metrics"):
        chosen = metric_rows.chosen_metrics(experiment.evaluate.metrics)
    _require_finite(chosen, "evaluate", "metrics")
    for name, settings in chosen.items():
        _check_whole_numbers(name, settings)
    with attach_key("sweep", "objective"):
        audit.check_objective(experiment.sweep.objective, num_retrained=len(experiment.train.seeds))
    _check_originals(experiment)
    _check_population(experiment)
    return experiment


def _expand(experiment: Experiment) -> Experiment:
    """Replace the entry `all` by the methods it selects, and `search` by the shipped ranges of each method.

    What an entry sets itself replaces the shipped range. A method without ranges runs at its defaults.
    """
    entries = dict(experiment.methods)
    if ALL in entries:
        shared = entries.pop(ALL)
        used = {experiment.function_name(name) for name in entries}
        entries |= {name: shared for name in methods.names() if name not in used}
    training = Training(experiment.train.recipe)
    expanded = {}
    for name, values in entries.items():
        own = {key: value for key, value in values.items() if key != SEARCH}
        if (search := values.get(SEARCH, False)) not in (True, False):
            with attach_key("methods", name, SEARCH):
                raise UserError(f"methods.{name}.{SEARCH} = {search!r}: must be true (the shipped ranges) or false")
        if search:
            with attach_key("methods", name):
                given = {key: value for key, value in own.items() if key != METHOD}
                own = {**own, **shipped_ranges(methods.get(str(values.get(METHOD, name))), training, given)}
        expanded[name] = own
    return experiment.model_copy(update={"methods": expanded})


def _check_method(name: str, function_name: str, values: Mapping[str, Any]) -> None:
    """Check every value that a trial of the method can get: fixed values, all choices, both ends of an interval."""
    with attach_key("methods", name):
        function = methods.get(function_name)
    spaces: dict[str, Space] = {}
    for key, value in values.items():
        with attach_key("methods", name, key):
            spaces[key] = Space.parse(f"methods.{name}.{key}", value)
            if len(spaces[key].values) > limits.CHOICES:
                raise UserError(f"methods.{name}.{key}: more than {limits.CHOICES} choices")
            for extreme in spaces[key].extremes:
                arguments, settings = check_method(name, function, {key: extreme})
                _require_finite({**settings.model_dump(), **arguments}, "methods", name)
    with attach_key("methods", name):  # values that are valid one by one may not be valid together
        for end in (0, 1):
            check_method(name, function, {key: space.extremes[end] for key, space in spaces.items()})


def _check_originals(experiment: Experiment) -> None:
    files = experiment.model.checkpoints
    if files and experiment.sweep.originals != len(files):
        with attach_key("sweep", "originals"):
            raise UserError(
                f"sweep.originals = {experiment.sweep.originals}: model.checkpoint sets the originals (allowed here: "
                f"{len(files)})"
            )


def _check_whole_numbers(metric: str, settings: Mapping[str, Any]) -> None:
    """Raise UserError for a count below 1, such as k = 0, and for a seed out of range; your own metrics decide."""
    for key, value in settings.items():
        low, high = (0, limits.SEED) if key == "seed" else (1, limits.COUNT)
        if "." not in metric and type(value) is int and not low <= value <= high:
            with attach_key("evaluate", "metrics", metric, key):
                raise UserError(f"evaluate.metrics.{metric}.{key} = {value}: must be {low} to {high}")


def _require_finite(value: Any, *key: str) -> None:
    """Raise UserError, with its key, for an infinite number or NaN; a text such as "inf" becomes one in a schema."""
    if isinstance(value, float) and not math.isfinite(value):
        with attach_key(*key):
            raise UserError(f"{'.'.join(key)} = {value}: must be a finite number")
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, item in items:
        _require_finite(item, *key, str(name))


def _check_population(experiment: Experiment) -> None:
    population = experiment.evaluate.population
    if population is None:
        return
    with attach_key("evaluate", "population", "methods"):
        for name in population.methods:
            if name not in experiment.methods:
                raise unknown("method of the population", name, experiment.methods)
            if experiment.checkpoints(name):
                raise UserError(f"method {name!r} lists checkpoints, and a population is made of runs of a method")
    if population.origins == "one_per_run" and experiment.model.checkpoint is not None:
        with attach_key("evaluate", "population", "origins"):
            raise UserError(
                "'one_per_run' trains one original for each run, but model.checkpoint sets the only original (allowed "
                "with a checkpoint: one)"
            )
    if not experiment.train.seeds:
        with attach_key("evaluate", "population"):
            raise UserError(
                "a population is compared with retrained models, and train.retrained_seeds is 0: remove the "
                "population, or set train.retrained_seeds to at least 4"
            )
