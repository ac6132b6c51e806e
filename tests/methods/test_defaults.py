"""Every method at its defaults on the quickstart: it beats the original model, or its note says why it cannot.

What a method is after decides what losing means: a fine-tuned model must not know the retain set worse than before, a
smoothed one must be smoother, all others must make the forget labels less likely, and none may destroy what is to be
kept. The settings that the notes on small models name are tried as well.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from raybench import methods
from raybench.config.reading import load_experiment
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
FINE_TUNED = {"finetune", "finetune_l1", "cf_k"}

# what brings back a retain set that a few steps of repair cannot
REPAIRED_BY: dict[str, dict[str, Any]] = {
    "activation_reset": {"lr": 0.01, "epochs": 20},
    "cfw": {"lr": 0.01, "epochs": 20},
    "convolution_transpose": {"lr": 0.01, "epochs": 20},
    "msg": {"lr": 0.01, "epochs": 20},
    "selective_pruning": {"lr": 0.01, "epochs": 20},
    "selective_pruning_complex": {"lr": 0.01, "epochs": 20},
    "unsir": {"repair_epochs": 10},
}
# what moves a model that the default leaves where it is
MOVED_BY: dict[str, dict[str, Any]] = {
    "duck": {"lr": 0.02},
    "gradient_ascent": {"lr": 0.03, "epochs": 10},
    "label_poisoning": {"lr": 0.01},
    "lfssd": {"selection": 1.05},
    "task_negation": {"lr": 0.1, "scale": 2.0},
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Train the quickstart's original and three retrained models; give what runs a trial on them."""
    torch.set_num_threads(1)
    experiment, _ = load_experiment(EXPERIMENTS / "quickstart.yaml", ["train.retrained_seeds=3", "sweep.seeds=1"])
    scenario = prepare(experiment, Store(str(tmp_path_factory.mktemp("runs"))))
    jobs = plan.train_jobs(scenario)
    original, *retrained = [train_job(scenario, job)["audit"] for job in jobs]
    aim = reference(retrained)

    def trial(method: str, *, seed: int = 7, **setting: Any) -> TrialRecord:
        job = plan.trial_job(scenario, jobs[0].key, method, setting, seed=seed, phase="final")
        return trial_job(scenario, job, aim)

    def gap(audit: dict[str, float]) -> float:
        return objective(GAP, audit, aim)

    return SimpleNamespace(
        scenario=scenario, key=jobs[0].key, original=original, retrained=retrained, trial=trial, gap=gap
    )


def lost(method: str, found: dict[str, float], original: dict[str, float]) -> list[str]:
    """Return in which measures the method is worse than the original model."""
    reasons = []
    if found["retain_accuracy"] < original["retain_accuracy"] - 0.02:
        reasons.append(f"it destroys: retain accuracy {found['retain_accuracy']:.3f}")
    if method in FINE_TUNED and found["retain_loss"] > 1.05 * original["retain_loss"]:
        reasons.append(f"it fine-tunes and knows the retain set worse: {found['retain_loss']:.4f}")
    if method not in {*FINE_TUNED, "jit"} and found["forget_loss"] < 1.01 * original["forget_loss"]:
        reasons.append(f"it forgets nothing: forget loss {found['forget_loss']:.4f}")
    return reasons


@pytest.mark.parametrize("name", NAMES)
def test_a_method_at_its_defaults_beats_doing_nothing_or_its_note_says_why_not(
    name: str, quickstart: SimpleNamespace
) -> None:
    record = quickstart.trial(name)
    assert record["status"] == "finished" or (record["status"] == "stopped" and record["reason"])
    explained = name in {*REPAIRED_BY, *MOVED_BY}
    assert bool(spec_of(methods.get(name), MethodSpec).small_models) == explained
    assert explained or lost(name, record["audit"], quickstart.original) == []


@pytest.mark.parametrize("name", REPAIRED_BY)
def test_a_model_that_is_not_repaired_in_a_few_steps_is_repaired_in_more(
    name: str, quickstart: SimpleNamespace
) -> None:
    short, longer = quickstart.trial(name), quickstart.trial(name, **REPAIRED_BY[name])
    curve = [row["retain_loss"] for row in short["epochs"]]
    assert lost(name, short["audit"], quickstart.original)
    assert curve[-1] == min(curve)  # the record shows it: the repair was going on when it ended
    assert longer["audit"]["retain_loss"] < short["audit"]["retain_loss"] / 2
    assert quickstart.gap(longer["audit"]) < min(quickstart.gap(quickstart.original), quickstart.gap(short["audit"]))


@pytest.mark.parametrize("name", MOVED_BY)
def test_a_model_that_a_few_small_steps_leave_where_it_was_is_moved_by_more(
    name: str, quickstart: SimpleNamespace
) -> None:
    short, longer = quickstart.trial(name), quickstart.trial(name, **MOVED_BY[name])
    assert short["audit"]["forget_loss"] == pytest.approx(quickstart.original["forget_loss"], rel=0.1)
    assert longer["audit"]["forget_loss"] > 1.5 * quickstart.original["forget_loss"]
    assert lost(name, longer["audit"], quickstart.original) == []


def test_retraining_is_as_far_from_the_retrained_models_as_they_are_from_each_other(
    quickstart: SimpleNamespace,
) -> None:
    others = [[b for b in quickstart.retrained if b is not a] for a in quickstart.retrained]
    floor = max(objective(GAP, a, reference(rest)) for a, rest in zip(quickstart.retrained, others))
    assert quickstart.gap(quickstart.trial("retrain")["audit"]) <= floor


def test_jit_makes_the_network_smoother_around_the_forget_set(quickstart: SimpleNamespace) -> None:
    scenario: Scenario = quickstart.scenario
    x, _ = scenario.split("forget").batch(torch.arange(120).numpy(), generator=None)
    noise = 0.8 * torch.randn((8, *x.shape), generator=torch.Generator().manual_seed(0))

    def slope(model: nn.Module) -> float:
        with torch.inference_mode():
            gaps = [(model.eval()(x) - model(x + n)).norm(dim=1) / n.flatten(1).norm(dim=1) for n in noise]
        return float(torch.stack(gaps).mean())

    record = quickstart.trial("jit")
    assert slope(scenario.load(record["key"])) < slope(scenario.load(quickstart.key))


def test_the_experiment_of_all_methods_names_every_method_of_the_registry() -> None:
    experiment, _ = load_experiment(EXPERIMENTS / "all_methods.yaml")
    assert sorted(experiment.methods) == NAMES
