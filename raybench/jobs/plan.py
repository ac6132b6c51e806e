"""The units of work that an experiment consists of, each with the key of the artifact that it makes.

A key is a fingerprint of everything that decides the result and of nothing else: changing `evaluate` trains nothing,
changing the forget rule keeps the original, changing one line of a method runs that method's trials again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raybench import methods
from raybench.config.schema import Experiment
from raybench.config.spaces import draw_settings
from raybench.fingerprints import code_fingerprint
from raybench.methods.framework.run import run
from raybench.methods.framework.spec import check
from raybench.models.checkpoints import read_file
from raybench.scenario.scenario import NUMERICS, Scenario
from raybench.scoring import metric_rows
from raybench.storage.store import fingerprint

POPULATION_ROLES = ("retain", "forget", "test")
UNTRAINED_SEED = 1_000_003  # far from those that models are trained from
PIECE = 65_536  # rows of one predictions file: small enough to redo, large enough to stream


@dataclass(frozen=True)
class TrainJob:
    """Train one model from scratch, or take the user's checkpoint, and audit it."""

    name: str
    kind: Literal["original", "retrained"]
    seed: int
    roles: tuple[str, ...]
    key: str
    audit_key: str
    checkpoint: str | None = None


@dataclass(frozen=True)
class TrialJob:
    """Run one method with one setting and seed; final ones keep the unlearned model."""

    name: str
    method: str  # the entry of `methods:`, which is the function's name unless it says otherwise
    function: str
    values: tuple[tuple[str, Any], ...]
    seed: int
    phase: Literal["search", "final"]
    original: str
    key: str

    @property
    def setting(self) -> dict[str, Any]:
        return dict(self.values)


@dataclass(frozen=True)
class AuditedModel:
    """A model that the evaluation looks at."""

    name: str
    kind: Literal["original", "retrained", "unlearned"]
    method: str
    seed: int
    key: str


@dataclass(frozen=True)
class PredictJob:
    """Predict one piece of one split with every model that lacks it: images are read once for all of them."""

    role: str
    start: int
    stop: int
    models: tuple[tuple[str, str], ...]  # (model key, predictions key)


def train_jobs(scenario: Scenario) -> list[TrainJob]:
    """Return the original's job first, then one per retrained seed."""
    train = scenario.experiment.train
    original = _train_job(scenario, "original", "original", train.seed, ("retain", "forget"))
    retrained = (_train_job(scenario, f"retrained-{seed}", "retrained", seed, ("retain",)) for seed in train.seeds)
    return [original, *retrained]


def origin_jobs(scenario: Scenario) -> list[TrainJob]:
    """Return one original per run of a population that asks for it, on seeds that nothing else uses."""
    population, train = scenario.experiment.evaluate.population, scenario.experiment.train
    if population is None or population.origins == "one":
        return []
    first = max([train.seed, *train.seeds]) + 1
    return [
        _train_job(scenario, f"origin-{first + i}", "original", first + i, ("retain", "forget"))
        for i in range(population.runs)
    ]


def _train_job(
    scenario: Scenario, name: str, kind: Literal["original", "retrained"], seed: int, roles: tuple[str, ...]
) -> TrainJob:
    experiment = scenario.experiment
    train = experiment.train
    data = [scenario.data_key, scenario.architecture()]
    recipe = [train.recipe_of(kind).model_dump(), train.workers, experiment.resources.threads]
    audited = (
        scenario.ids_fingerprint("retain"),
        scenario.ids_fingerprint("forget"),
        scenario.ids_fingerprint("validation"),
    )
    made_of: list[Any] = [*recipe, seed, scenario.ids_fingerprint(*roles)]
    checkpoint = experiment.model.checkpoint if kind == "original" else None
    if checkpoint is not None:
        made_of = ["checkpoint", hashlib.blake2b(read_file(checkpoint), digest_size=8).hexdigest()]
    mark = fingerprint("model", NUMERICS, data, made_of)
    audit = f"artifacts/audits/{fingerprint(mark, audited)}.json"
    return TrainJob(name, kind, seed, roles, f"artifacts/models/{mark}", audit, checkpoint)


def trial_job(
    scenario: Scenario,
    original: str,
    method: str,
    setting: dict[str, Any],
    *,
    seed: int,
    phase: Literal["search", "final"],
    folder: str | None = None,
) -> TrialJob:
    """Return the job of one setting; its key holds the full hyperparameters, defaults included.

    `folder`: where an adaptive search keeps its trials, which can only be found again by listing them.
    """
    experiment = scenario.experiment
    name = experiment.function_name(method)
    function = methods.get(name)
    arguments, settings = check(method, function, setting)
    mark = fingerprint(
        "trial",
        NUMERICS,
        original,
        [scenario.ids_fingerprint(role) for role in ("retain", "forget", "validation")],
        [method, name, code_fingerprint(function), code_fingerprint(run), arguments, settings.model_dump(), seed],
        experiment.train.recipe.model_dump(),  # its augmentation is the methods' too
        experiment.train.retrained_recipe.model_dump(),  # `retrain` follows it
        [experiment.resources.threads, experiment.resources.precision, experiment.sweep.stop_collapsed],
    )
    folder = folder or ("artifacts/trials" if phase == "search" else "artifacts/models")
    return TrialJob(f"{method}-{seed}", method, name, tuple(setting.items()), seed, phase, original, f"{folder}/{mark}")


def search_folder(scenario: Scenario, original: str, method: str) -> str:
    """Return where the trials of a method's adaptive search are: one folder per search space and base setting."""
    spaces, seed = scenario.experiment.spaces(method), scenario.experiment.sweep.seed
    corner = {key: space.values[0] for key, space in spaces.items()}
    base = trial_job(scenario, original, method, corner, seed=seed, phase="search").key
    return f"artifacts/searches/{fingerprint(base, {key: [s.kind, list(s.values)] for key, s in spaces.items()})}"


def search_jobs(scenario: Scenario, original: str) -> dict[str, list[TrialJob]]:
    """Return each method's trials, drawn up front; a method without a search space has one."""
    experiment = scenario.experiment
    return {
        method: [
            trial_job(scenario, original, method, setting, seed=experiment.sweep.seed, phase="search")
            for setting in draw_settings(
                experiment.spaces(method), trials=experiment.sweep.trials, seed=experiment.sweep.seed
            )
        ]
        for method in experiment.methods
    }


def final_jobs(scenario: Scenario, original: str, chosen: dict[str, dict[str, Any]]) -> list[TrialJob]:
    """Return the runs of each method's chosen setting, on seeds that the search did not select it by."""
    first = first_final_seed(scenario.experiment)
    return [
        trial_job(scenario, original, method, setting, seed=first + i, phase="final")
        for method, setting in chosen.items()
        for i in range(scenario.experiment.sweep.seeds)
    ]


def first_final_seed(experiment: Experiment) -> int:
    """Return a seed after those of the search and of all trained models: on theirs, `retrain` would make their twin."""
    return max([experiment.sweep.seed, experiment.train.seed, *experiment.train.seeds]) + 1


def population_jobs(
    scenario: Scenario, originals: Sequence[str], chosen: dict[str, dict[str, Any]]
) -> dict[str, list[TrialJob]]:
    """Return the runs of each population, whose first ones are the final runs where they share the original."""
    population = scenario.experiment.evaluate.population
    if population is None:
        return {}
    first = first_final_seed(scenario.experiment)
    return {
        method: [
            trial_job(scenario, originals[i % len(originals)], method, chosen[method], seed=first + i, phase="final")
            for i in range(population.runs)
        ]
        for method in population.methods
        if method in chosen
    }


def audited_models(train: Sequence[TrainJob], final: Sequence[TrialJob]) -> list[AuditedModel]:
    """Return every model of the leaderboard: the original, the retrained, the unlearned."""
    trained = [AuditedModel(job.name, job.kind, job.kind, job.seed, job.key) for job in train]
    return trained + [AuditedModel(job.name, "unlearned", job.method, job.seed, job.key) for job in final]


def chosen_metrics(scenario: Scenario) -> dict[str, dict[str, Any]]:
    """Return {name: settings} of the metrics that the experiment asks for."""
    return metric_rows.chosen_metrics(scenario.experiment.evaluate.metrics, downstream=bool(scenario.downstream))


def untrained_model(scenario: Scenario) -> str | None:
    """Return the key of the architecture at random weights, where a metric compares with it; it is never stored."""
    if not any("untrained" in metric_rows.references_read(name) for name in chosen_metrics(scenario)):
        return None
    mark = fingerprint("untrained", NUMERICS, scenario.data_key, scenario.architecture(), UNTRAINED_SEED)
    return f"artifacts/models/{mark}"


def predictions_keys(scenario: Scenario, model: str, role: str) -> list[tuple[int, int, str]]:
    """Return (start, stop, key) of every piece of a model's predictions on a role or a downstream set."""
    resources = scenario.experiment.resources
    size = len(scenario.role_ids(role))
    mark = fingerprint(
        "predictions",
        NUMERICS,
        scenario.role_view(role),
        scenario.ids_fingerprint(role),
        resources.precision,
        resources.threads,
    )
    folder = f"artifacts/predictions/{Path(model).name}"
    return [(s, min(s + PIECE, size), f"{folder}/{role}-{mark}-{s}.parquet") for s in range(0, size, PIECE)]


def predict_jobs(
    scenario: Scenario, audited: Sequence[AuditedModel], population: Sequence[str] = ()
) -> list[PredictJob]:
    """Return what is missing, grouped so that a worker reads each piece of a split once for all models.

    An untrained model is among them where a metric compares with one.

    The models of a `population`, given by key, are only asked about the splits that populations are compared on.
    """
    missing: dict[tuple[str, int, int], list[tuple[str, str]]] = {}
    compared = [model.key for model in audited] + [key for key in [untrained_model(scenario)] if key]
    for role in scenario.roles:
        models = compared + list(population if role in POPULATION_ROLES else ())
        for model in dict.fromkeys(models):
            for start, stop, key in predictions_keys(scenario, model, role):
                if not scenario.store.exists(key):
                    missing.setdefault((role, start, stop), []).append((model, key))
    return [PredictJob(*where, tuple(found)) for where, found in missing.items()]
