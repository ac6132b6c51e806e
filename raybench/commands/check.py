"""`raybench check`: print the plan of an experiment, from the same stages that `raybench run` executes."""

import shutil
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from raybench import methods
from raybench.commands.predictions import prediction_lines
from raybench.config.schema import Experiment
from raybench.config.sweep import Sweep
from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.perceptual_hash import cross_role_pairs
from raybench.data.reading.decode_dataset import available_cpus
from raybench.data.reading.encoded import Encoded
from raybench.data.splits import ROLES, roles_of_splits
from raybench.distributed.resources import needs, unmet
from raybench.jobs import plan
from raybench.jobs.imports import import_models
from raybench.jobs.large_splits import stored_bytes
from raybench.jobs.specs import EvaluatedModel, Job, TrainJob
from raybench.methods.framework.defaults import Relative
from raybench.methods.framework.spec import check as check_method
from raybench.methods.framework.spec import hyperparameters
from raybench.pipeline import stages
from raybench.pipeline.notices import assumptions
from raybench.pipeline.preflight import ModelSize, try_model
from raybench.pipeline.results import Swept, Trained
from raybench.progress import SILENT, Reporter
from raybench.scenario.prepare import prepare
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store

BYTES_PER_VALUE = 4


def plan_lines(
    experiment: Experiment, store: Store, reporter: Reporter = SILENT, *, duplicates: bool = False
) -> Iterator[str]:
    """Yield the lines of the plan; every check that `run` makes before it starts is made here too."""
    store.probe()
    scenario = prepare(experiment, store, reporter, trust_listing=True)
    trained = Trained(scenario)
    swept = Swept(scenario, trained)
    notes = import_models(scenario, trained.jobs, plan.imported_jobs(scenario, trained.originals))
    model = try_model(scenario)
    yield f"{experiment.name}: valid"
    yield from _data_lines(scenario, duplicates=duplicates)
    yield from _model_lines(scenario, model)
    yield from _train_lines(scenario, trained)
    yield from _sweep_lines(scenario, trained, swept)
    yield from _evaluate_lines(scenario, trained, swept, model)
    yield from (f"note         {note}" for note in notes)
    yield from prediction_lines(scenario)
    machine = {"CPU": float(available_cpus()), "GPU": float(torch.cuda.device_count())}
    if (problem := unmet(needs(experiment), [machine], "this machine")) is not None:
        yield f"resources    {problem}: `run` needs a cluster that has it (--address)"
    yield "Nothing was run."


def _data_lines(scenario: Scenario, *, duplicates: bool) -> Iterator[str]:
    images, sizes, experiment = scenario.data(), scenario.splits().sizes(), scenario.experiment
    yield (
        f"data         {experiment.data.dataset}: {images.num_samples} images {_shape(images, experiment)}, "
        f"{images.num_classes} classes"
    )
    if left_out := int((images.part == LEFT_OUT).sum()):
        yield f"left out     {left_out} of these images"
    if duplicates:
        yield from _duplicates(images, scenario.splits().role)
    yield f"roles        {', '.join(f'{role} {sizes[role]}' for role in ROLES)}"
    if len(roles_of_splits(images.part)) == 1 and not experiment.data.sizes.model_fields_set:
        yield "  the data have no official splits, so all roles divide one pool; `data.sizes` sets how"


def _model_lines(scenario: Scenario, model: ModelSize) -> Iterator[str]:
    checkpoint = _size(BYTES_PER_VALUE * model.parameters)
    yield f"model        {scenario.experiment.model.name}: {model.parameters:,} parameters, {checkpoint} per checkpoint"
    if scenario.init is not None:
        start = scenario.started_from()
        except_head = f", except its head ({', '.join(start['init_not_taken'])})" if start["init_not_taken"] else ""
        yield f"init         every training starts from {start['init']}{except_head}"


def _train_lines(scenario: Scenario, trained: Trained) -> Iterator[str]:
    experiment = scenario.experiment
    imported = [job for job in trained.jobs if job.checkpoint is not None]
    jobs = [job for job in trained.jobs if job.checkpoint is None]
    references = trained.reference_jobs
    kinds = ", ".join(
        f"{sum(job.kind == kind for job in jobs)} {kind}"
        for kind in ("original", "retrained")
        if not any(job.kind == kind for job in imported)
    )
    if not jobs and not references:
        yield f"train        {_yours(imported)}nothing to train"
        return
    cached = _finished(scenario.store, [*jobs, *references])
    missing = len(jobs) + len(references) - cached
    fewest, most = experiment.train.fewest_workers, experiment.train.most_workers
    number = f"{fewest} to {most}" if fewest < most else f"{most}"
    workers = f", {number} data-parallel workers" if most > 1 else ""
    for_search = f", and {len(references)} references of the search" if references else ""
    yield (
        f"train        {_yours(imported)}{len(jobs)} models{f' ({kinds})' if kinds else ''} "
        f"x {_epochs(experiment)} epochs{workers}{for_search}; {cached} cached, {missing} to train"
    )
    if (changes := experiment.train.retrained) and not experiment.train.checkpoints:
        yield f"  retrained with another recipe: {', '.join(f'{key} {value}' for key, value in changes.items())}"


def _yours(imported: Sequence[TrainJob]) -> str:
    """Return how many originals and retrained models are the user's checkpoints."""
    if [job.kind for job in imported] == ["original"]:
        return "your checkpoint, "
    kinds = [job.kind for job in imported]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f"your checkpoints ({counts}), " if counts else ""


def _sweep_lines(scenario: Scenario, trained: Trained, swept: Swept) -> Iterator[str]:
    experiment, sweep, store = scenario.experiment, scenario.experiment.sweep, scenario.store
    search = stages.search_stage(scenario, trained, swept)
    for method, jobs in swept.planned.items():
        spaces = ", ".join(
            f"{key} {space.values[0] if space.kind == 'fixed' else f'{space.kind} {list(space.values)}'}"
            for key, space in experiment.spaces(method).items()
        )
        total = sum(job.units for job in jobs)
        text = ", ".join(part for part in (spaces or "defaults", *_relative_defaults(scenario, method)) if part)
        yield f"  {method:<22} {total:>4} trials, {_finished(store, jobs)} cached   {text}"
    for method in filter(experiment.checkpoints, experiment.methods):
        yield f"  {method:<22} {experiment.runs(method):>4} models of yours"
    final = sum(experiment.runs(method) for method in experiment.methods if not experiment.checkpoints(method))
    if final == 0:
        yield "sweep        none: all methods are models of yours"
        return
    yield (
        f"sweep        {search.total} trials ({sweep.search}, scheduler {sweep.scheduler}, objective {sweep.objective})"
        f", {search.finished()} cached; then {_finalists(scenario, trained, swept)}{final} runs of the chosen settings "
        f"on {sweep.seeds} seeds{_starts(sweep)}"
    )
    if experiment.tunes_separately:
        splits = scenario.splits()
        yield (
            f"  tuned on another request: forget {len(splits.tuning_forget)}, measure {len(splits.tuning_retain)} of "
            f"retain; the other {len(splits.reported_retain)} retain samples are reported"
        )


def _finalists(scenario: Scenario, trained: Trained, swept: Swept) -> str:
    """Return how often the best settings run again, and how many of these runs the store holds if that is known."""
    sweep = scenario.experiment.sweep
    settings = {method: min(sweep.finalists, sum(job.units for job in jobs)) for method, jobs in swept.planned.items()}
    runs = len(trained.originals[1 : 1 + sweep.finalist_originals]) or sweep.finalist_originals
    most = runs * sum(number for number in settings.values() if number > 1)
    if most == 0:
        return ""
    train, search = stages.train_stage(scenario, trained), stages.search_stage(scenario, trained, swept)
    cached = ""
    if train.finished() == train.total and search.finished() == search.total:
        finalists = stages.finalists_stage(scenario, trained, swept)
        most, cached = finalists.total, f" ({finalists.finished()} cached)"
    return f"{most} runs of the best settings{cached} and "


def _relative_defaults(scenario: Scenario, method: str) -> Iterator[str]:
    """Yield the numbers that follow from the recipe where neither the file nor a preset sets them."""
    function = methods.get(scenario.experiment.function_name(method))
    setting = {key: space.values[0] for key, space in scenario.experiment.spaces(method).items()}
    arguments, _ = check_method(method, function, setting, scenario.training)
    for key, field in hyperparameters(function).model_fields.items():
        if isinstance(field.default, Relative) and key not in setting and "preset" not in setting:
            yield f"{key} {arguments[key]:g}"


def _evaluate_lines(scenario: Scenario, trained: Trained, swept: Swept, model: ModelSize) -> Iterator[str]:
    experiment, sizes = scenario.experiment, scenario.splits().sizes()
    sizes |= {role: len(scenario.role_ids(role)) for role in scenario.downstream}
    evaluated = _evaluated(scenario, trained, swept)
    num_evaluated = len(trained.jobs) + sum(map(experiment.runs, experiment.methods))
    num_predicted = num_evaluated + (plan.untrained_model(scenario) is not None)
    cached = ""
    if evaluated is not None:  # the chosen settings are known, so are the keys of their predictions
        num_predicted = len(evaluated) + (plan.untrained_model(scenario) is not None)
        cached = f", {stages.predict_stage(scenario, evaluated, []).finished()} cached"
    images_per_model = sum(sizes.values())
    yield (
        f"evaluate     {num_predicted} models x {len(sizes)} splits = {num_predicted * len(sizes)} forward passes "
        f"({num_predicted * images_per_model:,} images){cached}"
    )
    for role, downstream in scenario.downstream.items():
        yield f"  {role}: {sizes[role]} images of {downstream.config.dataset}"
    if any(scenario.is_augmented(role) for role in ROLES):
        yield f"  retain and forget are predicted {scenario.view_name('forget')}"
    yield f"metrics      {', '.join(plan.chosen_metrics(scenario))}"
    for notice in assumptions(scenario):
        yield f"note         {notice}"
    if (relearning := experiment.evaluate.relearning) is not None:
        most = relearning.max_epochs * sizes["forget"] * num_evaluated
        yield f"relearn      {num_evaluated} models x up to {relearning.max_epochs} epochs, at most {most:,} images"
    predictions = num_predicted * sum(stored_bytes(scenario, role, model.features) for role in sizes)
    disk = BYTES_PER_VALUE * model.parameters * num_evaluated + predictions
    yield f"disk         about {_size(disk)} under {scenario.store.shown} (checkpoints and predictions)"
    if scenario.store.is_local and disk > (free := shutil.disk_usage(scenario.store.root).free):
        yield f"             only {_size(free)} are free there: `run` stops when the disk is full, and then resumes"


def _starts(sweep: Sweep) -> str:
    return f", from {sweep.originals} originals" if sweep.originals > 1 else ""


def _evaluated(scenario: Scenario, trained: Trained, swept: Swept) -> list[EvaluatedModel] | None:
    """Return the models of the evaluation if training, search and final runs are in the store, else None."""
    train, search = stages.train_stage(scenario, trained), stages.search_stage(scenario, trained, swept)
    if train.finished() < train.total or search.finished() < search.total:
        return None
    finalists = stages.finalists_stage(scenario, trained, swept)
    if finalists.finished() < finalists.total:
        return None
    final = stages.final_stage(scenario, trained, swept)
    if final.finished() < final.total:
        return None
    finished = [job for job, record in zip(swept.jobs, swept.records) if record["audit"]]
    return plan.evaluated_models(trained.jobs, finished)


def _finished(store: Store, jobs: Sequence[Job]) -> int:
    return sum(job.finished(store) for job in jobs)


def _duplicates(images: ImageData, roles: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yield the pairs of roles that share images, by perceptual hash: such an image leaks from one to the other."""
    shared = cross_role_pairs(images, roles)
    for pairs in shared:
        examples = ", ".join(f"{a} = {b}" for a, b in pairs.examples.tolist())
        yield f"duplicates   {pairs.first} and {pairs.second}: {pairs.pairs} pairs of equal hashes (ids {examples} ...)"
    if not shared:
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
    original, retrained = experiment.train.epochs, experiment.train.retrained_recipe.epochs
    return str(original) if original == retrained else f"{original} (retrained: {retrained})"


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
