"""The plan of an experiment, printed: what would run, what the store holds already, and what it takes."""

from collections.abc import Iterator, Mapping

import numpy as np

from raybench import models
from raybench.config.schema import Experiment
from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.perceptual_hash import cross_role_pairs
from raybench.data.reading.encoded import Encoded
from raybench.data.splits import ROLES
from raybench.jobs.plan import TrialJob, chosen_metrics, search_folder, search_jobs, train_jobs, untrained_model
from raybench.jobs.train import import_checkpoint
from raybench.pipeline.notices import assumptions
from raybench.progress import SILENT, Reporter
from raybench.scenario.prepare import prepare
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store

LOGIT_BYTES = 4


def plan_lines(
    experiment: Experiment, store: Store, reporter: Reporter = SILENT, *, duplicates: bool = False
) -> Iterator[str]:
    """Yield the lines of the plan; every check that `run` makes before it starts is made here too."""
    store.probe()
    scenario = prepare(experiment, store, reporter)
    images, sizes = scenario.data(), scenario.splits().sizes()
    train, sweep = train_jobs(scenario), experiment.sweep
    import_checkpoint(scenario, train[0])
    model = scenario.fresh(0)
    yield f"{experiment.name}: valid"
    yield (
        f"data         {experiment.data.dataset}: {images.num_samples} images {_shape(images, experiment)}, "
        f"{images.num_classes} classes"
    )
    if left_out := int((images.part == LEFT_OUT).sum()):
        yield f"left out     {left_out} of these images"
    if duplicates:
        yield from _duplicates(images, scenario.splits().role)
    yield f"roles        {', '.join(f'{role} {sizes[role]}' for role in ROLES)}"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    yield f"model        {experiment.model.name}: {parameters:,} parameters, {_size(4 * parameters)} per checkpoint"
    if scenario.init is not None:
        yield _start(scenario)
    given = experiment.model.checkpoint is not None
    own = train[1:] if given else train
    trained = [job for job in own if store.exists(f"{job.key}.json") and store.exists(job.audit_key)]
    workers = f", {experiment.train.workers} data-parallel workers" if experiment.train.workers > 1 else ""
    yield (
        f"train        {'your checkpoint, ' if given else ''}{len(own)} models ({len(train) - 1} retrained) x "
        f"{_epochs(experiment)} epochs{workers}; {len(trained)} are in the store, "
        f"{len(own) - len(trained)} to train"
    )
    if changed := experiment.train.retrained:
        yield f"  retrained by another recipe: {', '.join(f'{key} {value}' for key, value in changed.items())}"
    searched = search_jobs(scenario, train[0].key)
    total, done = 0, 0
    for method, jobs in searched.items():
        asked, kept = _trials(scenario.store, experiment, search_folder(scenario, train[0].key, method), jobs)
        total, done = total + asked, done + kept
        spaces = ", ".join(
            f"{key} {space.values[0] if space.kind == 'fixed' else f'{space.kind} {list(space.values)}'}"
            for key, space in experiment.spaces(method).items()
        )
        yield f"  {method:<22} {asked:>4} trials, {kept} in the store   {spaces or 'defaults'}"
    final = sweep.seeds * len(experiment.methods)
    yield (
        f"sweep        {total} trials ({sweep.search}, scheduler {sweep.scheduler}, objective {sweep.objective}), "
        f"{done} in the store; then {final} runs of the chosen settings on {sweep.seeds} seeds"
    )
    audited = len(train) + final
    sizes |= {role: len(scenario.role_ids(role)) for role in scenario.downstream}
    predicted = audited + (untrained_model(scenario) is not None)
    with_features = sum(sizes.values()) * predicted * LOGIT_BYTES * (images.num_classes + _feature_size(model))
    yield (
        f"evaluate     {predicted} models x {len(sizes)} splits = {predicted * len(sizes)} forward passes "
        f"({predicted * sum(sizes.values()):,} images)"
    )
    for role, found in scenario.downstream.items():
        yield f"  {role}: {sizes[role]} images of {found.config.dataset}"
    if any(scenario.is_augmented(role) for role in ROLES):
        yield f"  retain and forget are predicted {scenario.view_name('forget')}"
    chosen = chosen_metrics(scenario)
    yield f"metrics      {', '.join(chosen)}"
    for notice in assumptions(scenario):
        yield f"note         {notice}"
    if (relearning := experiment.evaluate.relearning) is not None:
        most = relearning.max_epochs * sizes["forget"] * audited
        yield f"relearn      {audited} models x up to {relearning.max_epochs} epochs, at most {most:,} images"
    disk = 4 * parameters * audited + with_features
    yield f"disk         about {_size(disk)} under {store.uri} (checkpoints and predictions)"
    yield "Nothing was run."


def _duplicates(images: ImageData, roles: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yield the pairs of roles that share images, by perceptual hash: such an image leaks from one to the other."""
    found = cross_role_pairs(images, roles)
    for twins in found:
        shown = ", ".join(f"{a} = {b}" for a, b in twins.examples.tolist())
        yield f"duplicates   {twins.first} and {twins.second}: {twins.pairs} pairs of equal hashes (ids {shown}, ...)"
    if not found:
        yield "duplicates   none: no two roles share an image"
    else:
        yield "             data.deduplicate: perceptual_hash keeps one of each"


def _shape(images: ImageData, experiment: Experiment) -> str:
    if isinstance(images.images, Encoded):
        view = experiment.data.view
        assert view is not None
        return f"in files, streamed as {view.size}x{view.size} ({view.fit})"
    return f"{'x'.join(map(str, images.images.shape[1:]))}, {_size(images.images.nbytes)} in memory per node"


def _epochs(experiment: Experiment) -> str:
    own, retrained = experiment.train.epochs, experiment.train.retrained_recipe.epochs
    return str(own) if own == retrained else f"{own} (retrained: {retrained})"


def _start(scenario: Scenario) -> str:
    found = scenario.started_from()
    left = f", but for its head ({', '.join(found['init_not_taken'])})" if found["init_not_taken"] else ""
    return f"init         every training starts from {found['init']}{left}"


def _trials(store: Store, experiment: Experiment, folder: str, jobs: list[TrialJob]) -> tuple[int, int]:
    adaptive = experiment.sweep.search == "optuna" and len(jobs) > 1
    if adaptive:
        return experiment.sweep.trials, len(store.keys(folder, suffix=".json"))
    return len(jobs), sum(store.exists(f"{job.key}.json") for job in jobs)


def _feature_size(model: object) -> int:
    head = model.get_submodule(models.head_name(model))  # type: ignore[attr-defined, arg-type]
    return int(getattr(head, "in_features", 0) or head.in_channels)


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
