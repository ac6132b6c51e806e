"""Which jobs an experiment has: one function per stage, used by `run`, `check` and resume alike."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from raybench.config.spaces import draw_settings
from raybench.data import forget_rules
from raybench.engine.audit import IDEAL_GAP
from raybench.jobs import keys
from raybench.jobs.seeds import FIRST_FINALIST_SEED, first_final_seed, original_seeds, reference_seeds
from raybench.jobs.specs import (
    EvaluatedModel,
    Phase,
    PopulationJob,
    RelearnJob,
    ScoreJob,
    SearchJob,
    TrainJob,
    TrialJob,
)
from raybench.scenario.scenario import Scenario
from raybench.scoring import metric_rows
from raybench.scoring.average_gap import BY_FORGOTTEN_CLASS

POPULATION_ROLES = ("retain", "forget", "test")  # splits on which populations are compared


def train_jobs(scenario: Scenario) -> list[TrainJob]:
    """Return the jobs of all originals first, then one per retrained seed."""
    experiment = scenario.experiment
    files = experiment.train.checkpoints or [None] * len(experiment.train.seeds)
    retrained = (
        _train_job(scenario, f"retrained-{seed}", "retrained", seed, ("retain",), checkpoint=file)
        for seed, file in zip(experiment.train.seeds, files, strict=True)
    )
    return [*original_jobs(scenario, experiment.sweep.originals), *retrained]


def original_jobs(scenario: Scenario, number: int) -> list[TrainJob]:
    """Return the jobs of the first `number` originals."""
    files = scenario.experiment.model.checkpoints or [None] * number
    names = ["original", *(f"original-{i}" for i in range(1, number))]
    seeds = original_seeds(scenario.experiment, number)
    return [
        _train_job(scenario, name, "original", seed, ("retain", "forget"), number=i, checkpoint=file)
        for i, (name, seed, file) in enumerate(zip(names, seeds, files))
    ]


def _train_job(
    scenario: Scenario,
    name: str,
    kind: Literal["original", "retrained"],
    seed: int,
    roles: tuple[str, ...],
    *,
    number: int = 0,
    checkpoint: str | None = None,
) -> TrainJob:
    experiment, tuning_audit_key = scenario.experiment, None
    key, audit_key = keys.model_keys(scenario, kind, seed, roles, checkpoint)
    if kind == "original" and experiment.tunes_separately and experiment.sweep.objective == IDEAL_GAP:
        tuning_audit_key = keys.audit_key(scenario.of("tuning"), key)
    request = scenario.request
    return TrainJob(name, kind, seed, roles, key, audit_key, checkpoint, number, request, tuning_audit_key)


def reference_jobs(scenario: Scenario) -> list[TrainJob]:
    """Return the models that give a search its targets: retrained without the tuning forget set, for nothing else."""
    tuning = scenario.of("tuning")
    return [
        _train_job(tuning, f"tuning-reference-{number}", "retrained", seed, ("retain",))
        for number, seed in enumerate(reference_seeds(scenario.experiment), start=1)
    ]


def trial_job(
    scenario: Scenario,
    original: str,
    method: str,
    setting: Mapping[str, Any],
    *,
    seed: int,
    phase: Phase,
    folder: str | None = None,
    original_number: int = 0,
) -> TrialJob:
    """Return the job of one setting, starting from the original with that key and number.

    `folder`: where an adaptive search keeps its trials, which can only be found again by listing them.
    """
    key = keys.trial_key(scenario, original, method, setting, seed=seed, phase=phase)
    if folder is not None:
        key = f"{folder}/{key.rsplit('/', 1)[-1]}"
    function = scenario.experiment.function_name(method)
    name, values, request = f"{method}-{seed}", tuple(setting.items()), scenario.request
    return TrialJob(name, method, function, values, seed, phase, original, key, original_number, request)


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
    others = list(enumerate(originals))[1 : 1 + sweep.finalist_originals]
    starts, first = others or [(0, originals[0])] * sweep.finalist_originals, FIRST_FINALIST_SEED + sweep.seed
    return {
        method: [
            trial_job(
                scenario, original, method, setting, seed=first + i, phase="finalist", original_number=original_number
            )
            for setting in settings
            for i, (original_number, original) in enumerate(starts)
        ]
        for method, settings in best.items()
        if len(settings) > 1
    }


def final_jobs(scenario: Scenario, originals: Sequence[str], chosen: Mapping[str, Mapping[str, Any]]) -> list[TrialJob]:
    """Return the runs of each method's chosen setting, on seeds other than the one it was selected on.

    Run i starts from original i mod the number of `originals` (keys), so that the methods are paired by original.
    """
    return [
        run
        for method, setting in chosen.items()
        for run in _runs(scenario, originals, method, setting, scenario.experiment.runs(method))
    ]


def imported_jobs(scenario: Scenario, originals: Sequence[str]) -> list[TrialJob]:
    """Return the jobs of the models that the user has unlearned; model i started from original i mod their number."""
    methods = (method for method in scenario.experiment.methods if scenario.experiment.checkpoints(method))
    return final_jobs(scenario, originals, {method: {} for method in methods})


def _runs(
    scenario: Scenario, originals: Sequence[str], method: str, setting: Mapping[str, Any], number: int
) -> list[TrialJob]:
    first = first_final_seed(scenario.experiment)
    starts = zip(range(number), itertools.cycle(enumerate(originals)))
    if files := scenario.experiment.checkpoints(method):
        return [
            _imported_job(scenario, original, method, files[i], seed=first + i, original_number=start)
            for i, (start, original) in starts
        ]
    return [
        trial_job(scenario, original, method, setting, seed=first + i, phase="final", original_number=start)
        for i, (start, original) in starts
    ]


def _imported_job(
    scenario: Scenario, original: str, method: str, file: str, *, seed: int, original_number: int
) -> TrialJob:
    key = keys.imported_key(scenario, original, method, file)
    return TrialJob(
        f"{method}-{seed}", method, "", (), seed, "final", original, key, original_number, scenario.request, file
    )


def population_runs(
    scenario: Scenario, originals: Sequence[str], chosen: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[TrialJob]]:
    """Return the runs of each population: final runs where both start from the same original, and further ones."""
    population = scenario.experiment.evaluate.population
    if population is None:
        return {}
    return {
        method: _runs(scenario, originals, method, chosen[method], population.runs)
        for method in population.methods
        if method in chosen
    }


def population_originals(scenario: Scenario) -> list[TrainJob]:
    """Return the jobs of the originals that the runs of a population start from; empty without a population."""
    population = scenario.experiment.evaluate.population
    if population is None:
        return []
    return original_jobs(scenario, 1 if population.origins == "one" else population.runs)


def evaluated_models(train: Sequence[TrainJob], final: Sequence[TrialJob]) -> list[EvaluatedModel]:
    """Return every model of the leaderboard: the originals, the retrained, the unlearned."""
    return [*(job.model for job in train), *(job.model for job in final)]


def chosen_metrics(scenario: Scenario) -> dict[str, dict[str, Any]]:
    """Return {name: settings} of the experiment's metrics; with accuracy, that by forgotten and retained classes."""
    experiment = scenario.experiment
    chosen = metric_rows.chosen_metrics(experiment.evaluate.metrics, downstream=bool(scenario.downstream))
    if "accuracy" in chosen and forget_rules.spec(experiment.forget.rule).counterpart == "classes":
        chosen = {**{name: {} for name in BY_FORGOTTEN_CLASS}, **chosen}
    return chosen


def untrained_model(scenario: Scenario) -> str | None:
    """Return the key of the architecture at random weights if a metric compares with it."""
    needed = any("untrained" in metric_rows.references_read(name) for name in chosen_metrics(scenario))
    return keys.untrained_key(scenario) if needed else None


def score_jobs(scenario: Scenario, evaluated: Sequence[EvaluatedModel]) -> list[ScoreJob]:
    """Return one job per model, each compared with its own original and all retrained models."""
    metrics, untrained = chosen_metrics(scenario), untrained_model(scenario)
    originals = originals_of(evaluated)
    retrained = tuple(model.key for model in evaluated if model.kind == "retrained")
    pairs = [(model.key, original) for model, original in zip(evaluated, originals)]
    score_keys = keys.score_keys(scenario, pairs, [*retrained, *([untrained] if untrained else [])], metrics)
    return [
        ScoreJob(model, original, retrained, untrained, key)
        for model, original, key in zip(evaluated, originals, score_keys, strict=True)
    ]


def originals_of(evaluated: Sequence[EvaluatedModel]) -> list[str]:
    """Return the key of each model's own original."""
    numbered = {model.original: model.key for model in evaluated if model.kind == "original"}
    return [numbered[model.original] for model in evaluated]


def population_jobs(
    scenario: Scenario, train: Iterable[TrainJob], runs: Mapping[str, Sequence[TrialJob]]
) -> list[PopulationJob]:
    """Return one job per population; failed runs are left out, and a population without any run is none."""
    train = list(train)
    originals, retrained = (tuple(job.key for job in train if job.kind == kind) for kind in ("original", "retrained"))
    jobs = []
    for method, trials in runs.items():
        unlearned = tuple(job.key for job in trials if scenario.store.exists(f"{job.key}.pt"))
        if unlearned:
            key = keys.population_key(scenario, unlearned, (*originals, *retrained), POPULATION_ROLES)
            jobs.append(PopulationJob(method, unlearned, originals, retrained, key))
    return jobs


def relearn_jobs(scenario: Scenario, evaluated: Sequence[EvaluatedModel]) -> list[RelearnJob]:
    """Return one job per model if the experiment sets `evaluate.relearning`; an original itself needs 0 epochs."""
    if scenario.experiment.evaluate.relearning is None:
        return []
    return [
        RelearnJob(model, original, keys.relearning_key(scenario, model.key, original))
        for model, original in zip(evaluated, originals_of(evaluated))
    ]
