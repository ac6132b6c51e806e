"""Run an experiment: train, sweep, evaluate, report, in this order, skipping whatever the store holds."""

from typing import Literal

from raybench.config.schema import Experiment
from raybench.distributed.cluster import Cluster
from raybench.distributed.resources import needs
from raybench.jobs import plan
from raybench.jobs.imports import import_models
from raybench.pipeline import stages
from raybench.pipeline.collect import collect_tables
from raybench.pipeline.curves import complete_curves, write_overview
from raybench.pipeline.manifest import manifest
from raybench.pipeline.notices import assumptions, doubts, no_better_than_majority
from raybench.pipeline.preflight import try_model
from raybench.pipeline.python_warnings import readable_warnings
from raybench.pipeline.results import Swept, Trained
from raybench.progress import Reporter
from raybench.report.stored import read_manifest
from raybench.report.write import write_report
from raybench.scenario.prepare import prepare
from raybench.scenario.scenario import Scenario
from raybench.storage.errors import DamagedError
from raybench.storage.store import Store

Until = Literal["train", "sweep", "evaluate", "report"]


def run(
    experiment: Experiment,
    text: str,
    store: Store,
    reporter: Reporter,
    *,
    address: str | None = None,
    until: Until = "report",
    retry_failed: bool = False,
    dashboard: bool = False,
) -> str:
    """Run the experiment up to and including a stage, skipping whatever the store holds; return the run's folder.

    A damaged artifact is set aside, named and made again. Raises UserError for anything that the user can fix; nothing
    finished is lost by it.
    """
    store.probe()
    store.sweep_partial()
    quiet = reporter.verbosity < 1
    ray = Cluster(
        address,
        quiet=quiet,
        needs=needs(experiment),
        wait_seconds=60 * experiment.resources.wait_minutes,
        report=reporter.print,
        dashboard=dashboard,
    )
    recorded = readable_warnings(reporter, store, f"{experiment.name}/warnings.txt")
    with store.lock(f"{experiment.name}/lock"), recorded, ray as cluster:
        store.remove_scratch(experiment.name)  # of a run that was killed
        damaged: set[str] = set()
        while True:
            try:
                folder = _run(experiment, text, store, reporter, cluster, until, retry_failed=retry_failed)
                break
            except DamagedError as error:
                if error.artifact in damaged:  # made again and damaged again: a failing disk
                    raise
                damaged.add(error.artifact)
                reporter.print(f"raybench: {str(error).rpartition(';')[0]}; it is made again")
        store.remove_scratch(experiment.name)
        store.sweep_partial()  # of workers that were killed
    return folder


def _run(
    experiment: Experiment,
    text: str,
    store: Store,
    reporter: Reporter,
    cluster: Cluster,
    until: Until,
    *,
    retry_failed: bool,
) -> str:
    scenario = prepare(experiment, store, reporter)
    reporter.print(headline(scenario))
    for notice in assumptions(scenario):
        reporter.print(notice)
    _write_manifest(scenario, text)
    write_overview(scenario, text)
    trained = _train(scenario, cluster, reporter)
    if until == "train":
        return scenario.folder
    swept = _sweep(scenario, trained, cluster, reporter, retry_failed=retry_failed)
    if until == "sweep":
        return scenario.folder
    _evaluate(scenario, trained, swept, cluster, reporter)
    if until == "evaluate":
        return scenario.folder
    report(store, scenario.folder, reporter)
    return scenario.folder


def report(store: Store, folder: str, reporter: Reporter, *, thumbnails: bool | None = None) -> None:
    """Write and print the report of a run; `thumbnails`: as `show` of `scenario.pictures.open_pictures`."""
    from raybench.scenario.pictures import open_pictures  # imports matplotlib

    pictures = open_pictures(store, read_manifest(store, folder), show=thumbnails)
    write_report(store, folder, reporter, pictures)


def _write_manifest(scenario: Scenario, text: str) -> None:
    store, folder = scenario.store, scenario.folder
    keys = {"data": scenario.data_key, "splits": scenario.splits_key}
    store.write_json(f"{folder}/manifest.json", manifest(scenario.experiment, text, keys))
    store.write_bytes(f"{folder}/experiment.yaml", text.encode())


def _train(scenario: Scenario, cluster: Cluster, reporter: Reporter) -> Trained:
    trained = Trained(scenario)
    for note in import_models(scenario, trained.jobs, plan.imported_jobs(scenario, trained.originals)):
        reporter.print(note)
    stage = stages.train_stage(scenario, trained)
    if stage.finished() < stage.total:
        try_model(scenario)
    stages.execute(stage, cluster, reporter)
    for notice in [*doubts(scenario, trained.imported_audits), *no_better_than_majority(scenario, trained)]:
        reporter.print(notice)
    return trained


def _sweep(scenario: Scenario, trained: Trained, cluster: Cluster, reporter: Reporter, *, retry_failed: bool) -> Swept:
    swept = Swept(scenario, trained)
    search = stages.search_stage(scenario, trained, swept)
    if retry_failed:
        stages.forget_failures(scenario.store, search.jobs)
    stages.execute(search, cluster, reporter)
    finalists = stages.finalists_stage(scenario, trained, swept)
    if retry_failed:
        stages.forget_failures(scenario.store, finalists.jobs)
    stages.execute(finalists, cluster, reporter)
    final = stages.final_stage(scenario, trained, swept)
    if retry_failed:
        stages.forget_failures(scenario.store, final.jobs)
    stages.execute(final, cluster, reporter)
    return swept


def _evaluate(scenario: Scenario, trained: Trained, swept: Swept, cluster: Cluster, reporter: Reporter) -> None:
    finished = [job for job, record in zip(swept.jobs, swept.records) if record["audit"]]
    evaluated = plan.evaluated_models(trained.jobs, finished)
    originals = stages.originals_stage(scenario)
    stages.execute(originals, cluster, reporter)
    runs = plan.population_runs(scenario, [job.key for job in plan.population_originals(scenario)], swept.settings)
    every_run = [job for jobs in runs.values() for job in jobs]
    stages.execute(stages.population_stage(scenario, trained, every_run), cluster, reporter)
    complete_curves(scenario, trained, swept, originals=originals.jobs, runs=every_run)
    populations = plan.population_jobs(scenario, trained.jobs, runs)
    stages.execute(stages.predict_stage(scenario, evaluated, populations), cluster, reporter)
    scored = stages.score_stage(scenario, evaluated)
    stages.execute(scored, cluster, reporter)
    stages.execute(stages.compare_stage(scenario, populations), cluster, reporter)
    relearned = stages.relearn_stage(scenario, evaluated)
    stages.execute(relearned, cluster, reporter)
    collect_tables(scenario, trained, swept, evaluated, scored.jobs, populations, relearned.jobs)


def headline(scenario: Scenario) -> str:
    """Return one line that says what is about to run."""
    experiment, sizes = scenario.experiment, scenario.splits().sizes()
    options = ", ".join(str(v) for k, v in experiment.forget.model_dump().items() if k not in ("rule", "seed"))
    rule = f"{experiment.forget.rule} {options}".strip()
    trained = f"{experiment.sweep.originals} original{'s' if experiment.sweep.originals > 1 else ''}"
    files = len(experiment.model.checkpoints)
    original = trained if not files else "your original" if files == 1 else f"your {files} originals"
    yours = "your " if experiment.train.checkpoints else ""
    return (
        f"raybench  {experiment.name}   {experiment.data.dataset}, forget {sizes['forget']} of "
        f"{sizes['forget'] + sizes['retain']} ({rule})   {experiment.model.name}   {original}, "
        f"{yours}{len(experiment.train.seeds)} retrained   {len(experiment.methods)} methods\n"
    )
