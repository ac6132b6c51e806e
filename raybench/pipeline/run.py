"""train -> sweep -> evaluate -> report: the order, and what holds them together."""

from typing import Literal

from raybench.config.schema import Experiment
from raybench.distributed.cluster import Cluster
from raybench.errors import UserError
from raybench.jobs import population as work_population
from raybench.jobs.plan import audited_models
from raybench.pipeline.collect import collect_tables
from raybench.pipeline.manifest import manifest
from raybench.pipeline.notices import assumptions, doubts
from raybench.pipeline.stages import evaluate_stage, population_stage, relearn_stage, sweep_stage, train_stage
from raybench.progress import Reporter
from raybench.report import write_report
from raybench.scenario.prepare import prepare
from raybench.scenario.scenario import Scenario
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
) -> None:
    """Run the experiment up to a stage, skipping whatever the store holds.

    Raises UserError for anything that the user can mend; nothing finished is lost by it.
    """
    store.probe()
    store.sweep_partial()
    with store.lock(f"{experiment.name}/lock"), Cluster(address, quiet=reporter.verbosity < 1) as cluster:
        scenario = prepare(experiment, store, reporter)
        reporter.print(headline(scenario))
        for notice in assumptions(scenario):
            reporter.print(notice)
        keys = {"data": scenario.data_key, "splits": scenario.splits_key}
        store.write_json(f"{experiment.name}/manifest.json", manifest(experiment, text, keys))
        store.write_bytes(f"{experiment.name}/experiment.yaml", text.encode())
        trained = train_stage(scenario, cluster, reporter)
        for notice in doubts(scenario, trained.records[0]["audit"]):
            reporter.print(notice)
        if until == "train":
            return
        swept = sweep_stage(scenario, trained, cluster, reporter, retry_failed=retry_failed)
        if until == "sweep":
            return
        audited = audited_models(trained.jobs, [j for j, r in zip(swept.jobs, swept.records) if r["audit"]])
        runs = population_stage(scenario, trained, swept, cluster, reporter)
        populations = work_population.jobs(scenario, trained.jobs, runs)
        scored = evaluate_stage(scenario, audited, populations, cluster, reporter)
        relearned = relearn_stage(scenario, audited, cluster, reporter)
        collect_tables(scenario, trained, swept, audited, scored, populations, relearned)
        write_report(store, experiment.name, reporter)


def headline(scenario: Scenario) -> str:
    """Return one line that says what is about to happen."""
    experiment, sizes = scenario.experiment, scenario.splits().sizes()
    options = ", ".join(str(v) for k, v in experiment.forget.model_dump().items() if k not in ("rule", "seed"))
    rule = f"{experiment.forget.rule} {options}".strip()
    original = "your original" if experiment.model.checkpoint is not None else "1 original"
    return (
        f"raybench  {experiment.name}   {experiment.data.dataset}, forget {sizes['forget']} of "
        f"{sizes['forget'] + sizes['retain']} ({rule})   {experiment.model.name}   {original}, "
        f"{len(experiment.train.seeds)} retrained   {len(experiment.methods)} methods\n"
    )


def require_tables(store: Store, name: str) -> None:
    """Refuse to report on a run that has no tables yet."""
    if not store.exists(f"{name}/tables/metrics.parquet"):
        raise UserError(f"run {name!r} on {store.uri} has no tables yet: run `raybench run` on its experiment first")
