"""The plan of an experiment, printed: what would run, what the store holds already, and what it takes."""

from collections.abc import Iterator

from raybench import models, scoring
from raybench.data.splits import ROLES
from raybench.experiment import Experiment
from raybench.plan import TrialJob, search_folder, search_jobs, train_jobs
from raybench.scenario import prepare
from raybench.store import Store
from raybench.work.train import import_checkpoint

LOGIT_BYTES = 4


def plan_lines(experiment: Experiment, store: Store) -> Iterator[str]:
    """Yield the lines of the plan; every check that `run` makes before it starts is made here too."""
    store.probe()
    scenario = prepare(experiment, store)
    images, sizes = scenario.data(), scenario.splits().sizes()
    train, sweep = train_jobs(scenario), experiment.sweep
    import_checkpoint(scenario, train[0])
    model = scenario.fresh(0)
    shape = "x".join(str(side) for side in images.images.shape[1:])
    yield f"{experiment.name}: valid"
    yield (
        f"data         {experiment.data.dataset}: {images.num_samples} images {shape}, {images.num_classes} classes, "
        f"{_size(images.images.nbytes)} in memory per node"
    )
    yield f"roles        {', '.join(f'{role} {sizes[role]}' for role in ROLES)}"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    yield f"model        {experiment.model.name}: {parameters:,} parameters, {_size(4 * parameters)} per checkpoint"
    trained = [job for job in train if store.exists(f"{job.key}.json") and store.exists(job.audit_key)]
    workers = f", {experiment.train.workers} data-parallel workers" if experiment.train.workers > 1 else ""
    yield (
        f"train        {len(train)} models ({len(train) - 1} retrained) x {experiment.train.epochs} epochs{workers}; "
        f"{len(trained)} are in the store, {len(train) - len(trained)} to train"
    )
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
    with_features = sum(sizes.values()) * audited * LOGIT_BYTES * (images.num_classes + _feature_size(model))
    yield (
        f"evaluate     {audited} models x {len(ROLES)} splits = {audited * len(ROLES)} forward passes "
        f"({audited * sum(sizes.values()):,} images)"
    )
    yield f"metrics      {', '.join(scoring.chosen_metrics(experiment.evaluate.metrics))}"
    if (relearning := experiment.evaluate.relearning) is not None:
        most = relearning.max_epochs * sizes["forget"] * audited
        yield f"relearn      {audited} models x up to {relearning.max_epochs} epochs, at most {most:,} images"
    disk = 4 * parameters * audited + with_features
    yield f"disk         about {_size(disk)} under {store.uri} (checkpoints and predictions)"
    yield "Nothing was run."


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
