"""Every method at its defaults: what the measured table says, and the same on the quickstart's models.

`benchmarks/defaults.py` wrote the table. A method is judged on random forgetting, or on the scenario that its note on
limits names.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from raybench import methods
from raybench.config.reading import load_experiment
from raybench.docgen.measured_defaults import SCENARIOS, measured_line, rows
from raybench.engine.audit import GAP, objective, reference
from raybench.jobs import plan
from raybench.jobs.records import TrialRecord
from raybench.jobs.train import train_job
from raybench.jobs.trial import trial_job
from raybench.methods.framework.spec import MethodSpec
from raybench.registry import spec_of
from raybench.scenario.prepare import prepare
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
NAMES = methods.names()
RANDOM = "digits"


def test_the_table_has_every_method_on_the_scenarios_that_need_no_download() -> None:
    assert {name for name, scenario in rows() if scenario == RANDOM} == set(NAMES)
    better = {name for name in NAMES if rows()[name, RANDOM]["verdict"] == "better"}
    assert {name for name, scenario in rows() if scenario == "digits_class"} >= set(NAMES) - better
    assert {scenario for _, scenario in rows()} <= set(SCENARIOS)


def test_no_method_is_worse_than_doing_nothing_at_its_defaults_on_random_forgetting() -> None:
    worse = {key for key, row in rows().items() if row["verdict"] == "worse"}
    assert worse & {(name, scenario) for name in NAMES for scenario in ("digits", "fashion", "lfw")} == set()


def test_most_methods_are_better_than_doing_nothing_and_the_others_say_what_they_are_made_for() -> None:
    better = {name for name in NAMES if rows()[name, RANDOM]["verdict"] == "better"}
    made_for_classes = {name for name in set(NAMES) - better if rows()[name, "digits_class"]["verdict"] == "better"}
    assert len(better | made_for_classes) >= 35
    assert {name for name in NAMES if spec_of(methods.get(name), MethodSpec).limits} == set(NAMES) - better


def test_the_measured_line_names_scenarios_verdicts_and_gaps() -> None:
    line = measured_line("scrub")
    row = rows()["scrub", RANDOM]
    gaps = f"(gap {float(row['doing_nothing']):.1f} -> {float(row['gap']):.1f})"
    assert f"at its defaults, digits {row['verdict']} {gaps}; " in line
    assert measured_line("no_method") == ""


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Train the quickstart's original and three retrained models; give what runs a trial on them."""
    torch.set_num_threads(1)
    experiment, _ = load_experiment(EXPERIMENTS / "quickstart.yaml", ["train.retrained_seeds=3", "sweep.seeds=1"])
    scenario = prepare(experiment, Store(str(tmp_path_factory.mktemp("runs"))))
    jobs = plan.train_jobs(scenario)
    original, *retrained = [train_job(scenario, job)["audit"] for job in jobs]
    target = reference(retrained)

    def trial(method: str) -> TrialRecord:
        job = plan.trial_job(scenario, jobs[0].key, method, {}, seed=7, phase="final")
        return trial_job(scenario, job, target)

    def gap(audit: dict[str, float]) -> float:
        return objective(GAP, audit, target)

    return SimpleNamespace(
        scenario=scenario, key=jobs[0].key, original=original, retrained=retrained, trial=trial, gap=gap
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_method_at_its_defaults_repeats_what_the_table_says(name: str, quickstart: SimpleNamespace) -> None:
    record, row = quickstart.trial(name), rows()[name, RANDOM]
    assert record["status"] == "finished"
    gap, nothing = quickstart.gap(record["audit"]), quickstart.gap(quickstart.original)
    margin = 2 * float(row["noise_floor"])  # one run, and other retrained models
    if row["verdict"] == "better":
        assert gap < nothing + margin
    if float(row["gap"]) < float(row["doing_nothing"]) - 2 * margin:
        assert gap < nothing
    assert gap < nothing + 2 * margin


@pytest.mark.slow
def test_retraining_is_as_far_from_the_retrained_models_as_they_are_from_each_other(
    quickstart: SimpleNamespace,
) -> None:
    others = [[b for b in quickstart.retrained if b is not a] for a in quickstart.retrained]
    floor = max(objective(GAP, a, reference(rest)) for a, rest in zip(quickstart.retrained, others))
    assert quickstart.gap(quickstart.trial("retrain")["audit"]) <= floor


@pytest.mark.slow
def test_jit_makes_the_network_smoother_around_the_forget_set(quickstart: SimpleNamespace) -> None:
    scenario: Scenario = quickstart.scenario
    x, _ = scenario.split("forget").batch(np.arange(120), generator=None)
    noise = 0.8 * torch.randn((8, *x.shape), generator=torch.Generator().manual_seed(0))

    def slope(model: nn.Module) -> float:
        with torch.inference_mode():
            gaps = [(model.eval()(x) - model(x + n)).norm(dim=1) / n.flatten(1).norm(dim=1) for n in noise]
        return float(torch.stack(gaps).mean())

    record = quickstart.trial("jit")
    assert slope(scenario.load(record["key"])) < slope(scenario.load(quickstart.key))


def test_the_experiment_of_all_methods_runs_every_method_of_the_registry_with_its_shipped_ranges() -> None:
    experiment, _ = load_experiment(EXPERIMENTS / "all_methods.yaml")
    assert sorted(experiment.methods) == NAMES
    searched = {name for name in NAMES if any(space.kind != "fixed" for space in experiment.spaces(name).values())}
    assert searched == {name for name in NAMES if spec_of(methods.get(name), MethodSpec).search}
