"""What must hold across the parts of an experiment: names exist, values are valid together, references are there."""

from typing import TYPE_CHECKING, Any

from raybench import methods
from raybench.config.spaces import Space
from raybench.engine import audit
from raybench.errors import UserError, about, unknown
from raybench.methods.framework.spec import check as check_method
from raybench.scoring import metric_rows

if TYPE_CHECKING:
    from raybench.config.schema import Experiment


def check(experiment: "Experiment") -> None:
    """Raise UserError, with its key, for the first thing in the experiment that does not fit the rest of it."""
    for name, values in experiment.methods.items():
        _check_method(name, experiment.function_name(name), {k: v for k, v in values.items() if k != "method"})
    with about("evaluate", "metrics"):
        metric_rows.chosen_metrics(experiment.evaluate.metrics)
    with about("sweep", "objective"):
        audit.check_objective(experiment.sweep.objective, num_retrained=len(experiment.train.seeds))
    _check_population(experiment)


def with_default_objective(content: Any) -> Any:
    """Return the content of an experiment file with the aim of a sweep that has no retrained models to aim at."""
    train, sweep = (content.get(part, {}) for part in ("train", "sweep")) if isinstance(content, dict) else (None, None)
    if isinstance(train, dict) and isinstance(sweep, dict) and train.get("retrained_seeds") == 0:
        return {**content, "sweep": {"objective": audit.IDEAL_GAP, **sweep}}
    return content


def _check_method(name: str, function_name: str, values: dict[str, Any]) -> None:
    with about("methods", name):
        function = methods.get(function_name)
    spaces: dict[str, Space] = {}
    for key, value in values.items():
        with about("methods", name, key):
            spaces[key] = Space.parse(f"methods.{name}.{key}", value)
            for end in spaces[key].extremes:
                check_method(name, function, {key: end})
    with about("methods", name):  # values that are valid one by one may not be so together
        for end in (0, 1):
            check_method(name, function, {key: space.extremes[end] for key, space in spaces.items()})


def _check_population(experiment: "Experiment") -> None:
    population = experiment.evaluate.population
    if population is None:
        return
    with about("evaluate", "population", "methods"):
        for name in population.methods:
            if name not in experiment.methods:
                raise unknown("method of the population", name, experiment.methods)
    if population.origins == "one_per_run" and experiment.model.checkpoint is not None:
        with about("evaluate", "population", "origins"):
            raise UserError("one_per_run trains its own originals, but model.checkpoint gives one (allowed: one)")
    if not experiment.train.seeds:
        with about("evaluate", "population"):
            raise UserError(
                "a population is compared with retrained models, and train.retrained_seeds is 0: leave the population "
                "out, or retrain at least 4"
            )
