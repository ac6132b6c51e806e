"""Keys of artifacts. A key is a fingerprint of everything that decides a result and of nothing else.

So a change of `evaluate` trains nothing, a change of the forget rule keeps the original, and an edit of a method's code
runs the trials of that method again.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from raybench import methods
from raybench.config.spaces import Space
from raybench.engine.relearning import relearn
from raybench.fingerprints import code_fingerprint
from raybench.jobs.large_splits import PIECE, LargeSplits, large_splits, num_pieces
from raybench.jobs.specs import Phase
from raybench.methods.framework.run import run
from raybench.methods.framework.spec import check
from raybench.metrics.framework.streaming import Call, streamable
from raybench.metrics.functions.population import population_metrics
from raybench.metrics.functions.stored_signals import SIGNALS
from raybench.models.checkpoints import file_digest
from raybench.scenario.scenario import AUDIT_ROLES, NUMERICS, Scenario
from raybench.scoring import metric_rows
from raybench.storage.store import fingerprint

UNTRAINED_SEED = 1_000_003  # far from the seeds that models are trained from


def model_keys(
    scenario: Scenario,
    kind: Literal["original", "retrained"],
    seed: int,
    roles: tuple[str, ...],
    checkpoint: str | None,
) -> tuple[str, str]:
    """Return the key of a trained or imported model, without its suffix, and the key of its audit."""
    experiment = scenario.experiment
    decided_by: list[Any] = [
        experiment.train.recipe_of(kind).model_dump(),
        experiment.train.execution,
        experiment.resources.threads,
        seed,
        scenario.ids_fingerprint(*roles),
    ]
    if checkpoint is not None:
        if kind == "original":
            decided_by = ["checkpoint", file_digest(checkpoint, key="model.checkpoint")]
        else:
            decided_by = ["retrained checkpoint", file_digest(checkpoint, key="train.retrained.checkpoints")]
    model = fingerprint("model", NUMERICS, [scenario.data_key, scenario.architecture()], decided_by)
    return f"artifacts/models/{model}", audit_key(scenario, model)


def audit_key(scenario: Scenario, model: str) -> str:
    """Return the key of a model's audit on the samples that the scenario's deletion request measures."""
    audited = [scenario.measured_fingerprint(role) for role in AUDIT_ROLES]
    return f"artifacts/audits/{fingerprint(Path(model).name, audited)}.json"


def trial_key(
    scenario: Scenario, original: str, method: str, setting: Mapping[str, Any], *, seed: int, phase: Phase
) -> str:
    """Return the key of one trial without its suffix: the full hyperparameters count, defaults included."""
    experiment = scenario.experiment
    function_name = experiment.function_name(method)
    function = methods.get(function_name)
    hyperparameters, settings = check(method, function, setting, scenario.training)
    trial = fingerprint(
        "trial",
        NUMERICS,
        original,
        [scenario.ids_fingerprint("retain"), *map(scenario.measured_fingerprint, AUDIT_ROLES)],
        [method, function_name, code_fingerprint(function), code_fingerprint(run)],
        [hyperparameters, settings.model_dump(), seed],
        experiment.train.recipe.model_dump(),  # methods see its augmentation
        experiment.train.retrained_recipe.model_dump(),  # the method `retrain` follows it
        [experiment.resources.threads, experiment.resources.precision, experiment.sweep.stop_collapsed],
    )
    return f"artifacts/{'models' if phase == 'final' else 'trials'}/{trial}"


def imported_key(scenario: Scenario, original: str, method: str, checkpoint: str) -> str:
    """Return the key of a model that the user has unlearned, without its suffix: the content of its file counts."""
    decided_by = [
        [scenario.data_key, scenario.architecture(), original, method],
        file_digest(checkpoint, key=f"methods.{method}.checkpoints"),
        [*map(scenario.measured_fingerprint, AUDIT_ROLES)],
        [scenario.experiment.resources.threads, scenario.experiment.resources.precision],
    ]
    return f"artifacts/models/{fingerprint('imported', NUMERICS, *decided_by)}"


def search_folder(scenario: Scenario, original: str, method: str) -> str:
    """Return the folder of an adaptive search's trials: one per search space, base setting and original."""
    spaces, seed = scenario.experiment.spaces(method), scenario.experiment.sweep.seed
    base_setting = {key: space.values[0] for key, space in spaces.items()}
    base = trial_key(scenario, original, method, base_setting, seed=seed, phase="search")
    return f"artifacts/searches/{fingerprint(base, space_values(spaces))}"


def space_values(spaces: Mapping[str, Space]) -> dict[str, list[Any]]:
    """Return search spaces as plain values."""
    return {key: [space.kind, list(space.values)] for key, space in spaces.items()}


def untrained_key(scenario: Scenario) -> str:
    """Return the key of the architecture at random weights; it is predicted and never stored."""
    model = fingerprint("untrained", NUMERICS, scenario.data_key, scenario.architecture(), UNTRAINED_SEED)
    return f"artifacts/models/{model}"


def predictions_keys(scenario: Scenario, model: str, role: str) -> list[tuple[int, int, str]]:
    """Return (start, stop, key) of every piece of a model's predictions on a role or a downstream set."""
    num_samples = len(scenario.role_ids(role))
    prefix = f"artifacts/predictions/{Path(model).name}/{role}-{_split(scenario, role)}"
    return [
        (start, min(start + PIECE, num_samples), f"{prefix}-{start}.parquet") for start in range(0, num_samples, PIECE)
    ]


def _split(scenario: Scenario, role: str) -> str:
    resources = scenario.experiment.resources
    return fingerprint(
        "predictions",
        NUMERICS,
        scenario.role_view(role),
        scenario.measured_fingerprint(role),
        resources.precision,
        resources.threads,
    )


def piece_keys(
    scenario: Scenario, model: str, role: str, *, kept: Sequence[str]
) -> list[tuple[str | None, str | None]]:
    """Return the keys of the signals and of the kept arrays of every piece of a streamed split; None for what is not.

    Signals are stored where the logits are not kept.
    """
    name, split, pieces = Path(model).name, _split(scenario, role), num_pieces(len(scenario.role_ids(role)))
    signals, arrays = f"artifacts/signals/{name}/{role}-{split}-{_code_of_signals()}", "-".join(kept)
    return [
        (
            None if "logits" in kept else f"{signals}-{piece}.parquet",
            f"artifacts/predictions/{name}/{role}-{split}-{arrays}-{piece}.parquet" if kept else None,
        )
        for piece in range(pieces)
    ]


def statistics_keys(
    scenario: Scenario, model: str, reference: str | None, role: str, calls: tuple[Call, ...]
) -> list[str]:
    """Return the key of what some calls compute of every piece: models, samples, settings, code, the whole arrays."""
    models = {None: model, **({calls[0].reference: reference} if reference else {})}
    whole = {(models[source.reference], source.role) for call in calls for _, source in call.whole}
    read = sorted(f"{Path(str(key)).name} {name} {_split(scenario, name)}" for key, name in whole)
    content = fingerprint("statistics", NUMERICS, model, reference, _split(scenario, role), _of_calls(calls), read)
    prefix = f"artifacts/statistics/{Path(model).name}/{role}-{content}"
    return [f"{prefix}-{piece}.pt" for piece in range(num_pieces(len(scenario.role_ids(role))))]


@functools.lru_cache(maxsize=256)
def _of_calls(calls: tuple[Call, ...]) -> str:
    """Hash the functions, their code, and how they are called."""
    code = {name: code_fingerprint(streamable(f).function) for name, f in {c.name: c.function for c in calls}.items()}
    return fingerprint(code, [(call.name, call.streamed, call.whole, repr(call.settings)) for call in calls])


@functools.lru_cache(maxsize=1)
def _code_of_signals() -> str:
    return fingerprint(*(code_fingerprint(streamable(function).function) for function in SIGNALS.values()))


def all_predictions(scenario: Scenario, models: Iterable[str], roles: Iterable[str]) -> list[str]:
    """Return the key of every file of predictions or signals of the models on the roles."""
    large, roles = large_splits(scenario), list(roles)
    return [key for model in models for role in roles for key in _files(scenario, large, model, role)]


def _files(scenario: Scenario, large: LargeSplits, model: str, role: str) -> list[str]:
    if not large.is_streamed(role):
        return [key for *_, key in predictions_keys(scenario, model, role)]
    pieces = piece_keys(scenario, model, role, kept=large.kept(role))
    return [key for files in pieces for key in files if key is not None]


def score_keys(
    scenario: Scenario, pairs: Sequence[tuple[str, str]], references: Sequence[str], metrics: Mapping[str, Any]
) -> list[str]:
    """Return the keys of the metric rows of (model, its original) pairs.

    They are decided by the predictions of the model, its original and the `references`, and by the metrics and their
    code.
    """
    code, alphas = metric_rows.code_fingerprints(metrics), scenario.experiment.evaluate.alphas
    shared = {}
    for original in dict.fromkeys(original for _, original in pairs):
        read = all_predictions(scenario, [original, *references], scenario.roles)
        shared[original] = fingerprint(read, metrics, code, alphas)
    predictions = (all_predictions(scenario, [model], scenario.roles) for model, _ in pairs)
    return [
        f"artifacts/scores/{fingerprint('score', NUMERICS, keys, shared[original])}.parquet"
        for keys, (_, original) in zip(predictions, pairs)
    ]


def population_key(
    scenario: Scenario, unlearned: tuple[str, ...], references: Iterable[str], roles: Iterable[str]
) -> str:
    """Return the key of the statistics that compare a population with the retrained models."""
    read = all_predictions(scenario, (*unlearned, *references), roles)
    settings = scenario.experiment.evaluate.population
    code = code_fingerprint(population_metrics)
    return f"artifacts/scores/{fingerprint('population', NUMERICS, read, len(unlearned), settings, code)}.parquet"


def relearning_key(scenario: Scenario, model: str, original: str) -> str:
    """Return the key of a model's relearning probe: both models, the forget set, the settings and the probe's code."""
    experiment = scenario.experiment
    decided_by = [
        [NUMERICS, *all_predictions(scenario, [original], ["forget"])],
        [scenario.data_key, experiment.data.resize, experiment.data.view, scenario.ids_fingerprint("forget")],
        [experiment.evaluate.relearning, code_fingerprint(relearn)],
        [experiment.resources.threads, experiment.resources.precision, experiment.evaluate.batch_size],
    ]
    return f"artifacts/relearning/{fingerprint('relearning', model, original, decided_by)}.json"
