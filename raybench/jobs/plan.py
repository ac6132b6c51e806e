"""Which jobs an experiment has: one function per stage, used by `run`, `check` and resume alike."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from raybench.config.schema import Experiment
from raybench.config.spaces import draw_settings
from raybench.engine.audit import GAP, IDEAL_GAP
from raybench.jobs import keys
from raybench.jobs.specs import (
    EvaluatedModel,
    Phase,
    PopulationJob,
    PredictJob,
    RelearnJob,
    ScoreJob,
    SearchJob,
    TrainJob,
    TrialJob,
)
from raybench.scenario.scenario import Scenario
from raybench.scoring import metric_rows

FIRST_REFERENCE_SEED = 2_000_003  # far from the seeds of other models and runs
FIRST_FINALIST_SEED = 3_000_017
POPULATION_ROLES = ("retain", "forget", "test")  # splits on which populations are compared


def train_jobs(scenario: Scenario) -> list[TrainJob]:
    """Return the original's job first, then one per retrained seed."""
    train = scenario.experiment.train
    original = _train_job(scenario, "original", "original", train.seed, ("retain", "forget"))
    retrained = (_train_job(scenario, f"retrained-{seed}", "retrained", seed, ("retain",)) for seed in train.seeds)
    return [original, *retrained]


def origin_jobs(scenario: Scenario) -> list[TrainJob]:
    """Return one original per run of a population with `origins: one_per_run`, on seeds that nothing else uses."""
    population, train = scenario.experiment.evaluate.population, scenario.experiment.train
    if population is None or population.origins == "one":
        return []
    first = max([train.seed, *train.seeds]) + 1
    return [
        _train_job(scenario, f"origin-{seed}", "original", seed, ("retain", "forget"))
        for seed in range(first, first + population.runs)
    ]


def _train_job(
    scenario: Scenario, name: str, kind: Literal["original", "retrained"], seed: int, roles: tuple[str, ...]
) -> TrainJob:
    experiment, tuning_audit_key = scenario.experiment, None
    checkpoint = experiment.model.checkpoint if kind == "original" else None
    key, audit_key = keys.model_keys(scenario, kind, seed, roles, checkpoint)
    if kind == "original" and experiment.tunes_separately and experiment.sweep.objective == IDEAL_GAP:
        tuning_audit_key = keys.audit_key(scenario.of("tuning"), key)
    return TrainJob(name, kind, seed, roles, key, audit_key, checkpoint, scenario.request, tuning_audit_key)


def reference_jobs(scenario: Scenario) -> list[TrainJob]:
    """Return the models that give a search its targets: retrained without the tuning forget set, for nothing else."""
    tuning = scenario.of("tuning")
    return [
        _train_job(tuning, f"tuning-reference-{number}", "retrained", seed, ("retain",))
        for number, seed in enumerate(reference_seeds(scenario.experiment), start=1)
    ]


def reference_seeds(experiment: Experiment) -> list[int]:
    """Return the seeds of the search's references.

    None unless the search tunes on a separate request and minimizes the gap to retrained models.
    """
    if not experiment.tunes_separately or experiment.sweep.objective != GAP:
        return []
    return [FIRST_REFERENCE_SEED + i for i in range(experiment.sweep.references)]


def trial_job(
    scenario: Scenario,
    original: str,
    method: str,
    setting: Mapping[str, Any],
    *,
    seed: int,
    phase: Phase,
    folder: str | None = None,
) -> TrialJob:
    """Return the job of one setting.

    `folder`: where an adaptive search keeps its trials, which can only be found again by listing them.
    """
    key = keys.trial_key(scenario, original, method, setting, seed=seed, phase=phase)
    if folder is not None:
        key = f"{folder}/{key.rsplit('/', 1)[-1]}"
    function = scenario.experiment.function_name(method)
    values, request = tuple(setting.items()), scenario.request
    return TrialJob(f"{method}-{seed}", method, function, values, seed, phase, original, key, request)


def search_jobs(scenario: Scenario, original: str) -> dict[str, list[TrialJob] | list[SearchJob]]:
    """Return each method's trials, drawn up front, or its adaptive search; a method without search spaces has none.

    `original` is unlearned on the tuning request.
    """
    experiment, sweep, scenario = scenario.experiment, scenario.experiment.sweep, scenario.of("tuning")
    jobs: dict[str, list[TrialJob] | list[SearchJob]] = {}
    for method in filter(experiment.searches, experiment.methods):
        if sweep.search == "optuna":
            folder = keys.search_folder(scenario, original, method)
            jobs[method] = [SearchJob(method, original, sweep.trials, folder)]
        else:
            settings = draw_settings(experiment.spaces(method), trials=sweep.trials, seed=sweep.seed)
            jobs[method] = [
                trial_job(scenario, original, method, setting, seed=sweep.seed, phase="search") for setting in settings
            ]
    return jobs


def finalist_jobs(
    scenario: Scenario, originals: Sequence[str], best: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[TrialJob]]:
    """Return the further runs of each method's best settings, which are given best first; none for a single setting.

    They run on other originals than the first, or again on the only one, each with a seed that nothing else uses.
    """
    sweep, scenario = scenario.experiment.sweep, scenario.of("tuning")
    others = list(originals[1 : 1 + sweep.finalist_originals]) or [originals[0]] * sweep.finalist_originals
    return {
        method: [
            trial_job(scenario, original, method, setting, seed=FIRST_FINALIST_SEED + sweep.seed + i, phase="finalist")
            for setting in settings
            for i, original in enumerate(others)
        ]
        for method, settings in best.items()
        if len(settings) > 1
    }


def final_jobs(scenario: Scenario, original: str, chosen: Mapping[str, Mapping[str, Any]]) -> list[TrialJob]:
    """Return the runs of each method's chosen setting, on seeds other than the one it was selected on."""
    first = first_final_seed(scenario.experiment)
    return [
        trial_job(scenario, original, method, setting, seed=first + i, phase="final")
        for method, setting in chosen.items()
        for i in range(scenario.experiment.sweep.seeds)
    ]


def first_final_seed(experiment: Experiment) -> int:
    """Return a seed that neither the search nor a trained model uses; `retrain` would reproduce such a model."""
    return max([experiment.sweep.seed, experiment.train.seed, *experiment.train.seeds]) + 1


def population_runs(
    scenario: Scenario, originals: Sequence[str], chosen: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[TrialJob]]:
    """Return the runs of each population; the first ones are the final runs where both start from the same original."""
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


def evaluated_models(train: Sequence[TrainJob], final: Sequence[TrialJob]) -> list[EvaluatedModel]:
    """Return every model of the leaderboard: the original, the retrained, the unlearned."""
    return [*(job.model for job in train), *(job.model for job in final)]


def chosen_metrics(scenario: Scenario) -> dict[str, dict[str, Any]]:
    """Return {name: settings} of the experiment's metrics."""
    return metric_rows.chosen_metrics(scenario.experiment.evaluate.metrics, downstream=bool(scenario.downstream))


def untrained_model(scenario: Scenario) -> str | None:
    """Return the key of the architecture at random weights if a metric compares with it."""
    needed = any("untrained" in metric_rows.references_read(name) for name in chosen_metrics(scenario))
    return keys.untrained_key(scenario) if needed else None


def predict_jobs(
    scenario: Scenario, evaluated: Sequence[EvaluatedModel], population: Sequence[str] = ()
) -> list[PredictJob]:
    """Return one job per piece of a split, with all models that are predicted on it.

    An untrained model is among them if a metric compares with one. The models of a `population`, given by key, are
    predicted only on the splits on which populations are compared.
    """
    compared = [model.key for model in evaluated] + [key for key in [untrained_model(scenario)] if key]
    pieces: dict[tuple[str, int, int], list[tuple[str, str]]] = {}
    for role in scenario.roles:
        models = [*compared, *(population if role in POPULATION_ROLES else ())]
        for model in dict.fromkeys(models):
            for start, stop, key in keys.predictions_keys(scenario, model, role):
                pieces.setdefault((role, start, stop), []).append((model, key))
    return [PredictJob(*piece, tuple(models)) for piece, models in pieces.items()]


def score_jobs(scenario: Scenario, evaluated: Sequence[EvaluatedModel]) -> list[ScoreJob]:
    """Return one job per model, each compared with the original and all retrained models."""
    metrics, untrained = chosen_metrics(scenario), untrained_model(scenario)
    original = next(model.key for model in evaluated if model.kind == "original")
    retrained = tuple(model.key for model in evaluated if model.kind == "retrained")
    references = [original, *retrained, *([untrained] if untrained else [])]
    score_keys = keys.score_keys(scenario, [model.key for model in evaluated], references, metrics)
    return [
        ScoreJob(model, original, retrained, untrained, key) for model, key in zip(evaluated, score_keys, strict=True)
    ]


def population_jobs(
    scenario: Scenario, train: Iterable[TrainJob], runs: Mapping[str, Sequence[TrialJob]]
) -> list[PopulationJob]:
    """Return one job per population; failed runs are left out, and a population without any run is none."""
    train = list(train)
    original, retrained = train[0].key, tuple(job.key for job in train if job.kind == "retrained")
    jobs = []
    for method, trials in runs.items():
        unlearned = tuple(job.key for job in trials if scenario.store.exists(f"{job.key}.pt"))
        if unlearned:
            key = keys.population_key(scenario, unlearned, (original, *retrained), POPULATION_ROLES)
            jobs.append(PopulationJob(method, unlearned, original, retrained, key))
    return jobs


def relearn_jobs(scenario: Scenario, evaluated: Sequence[EvaluatedModel]) -> list[RelearnJob]:
    """Return one job per model if the experiment sets `evaluate.relearning`; the original itself needs 0 epochs."""
    if scenario.experiment.evaluate.relearning is None:
        return []
    original = next(model.key for model in evaluated if model.kind == "original")
    return [RelearnJob(model, original, keys.relearning_key(scenario, model.key, original)) for model in evaluated]
