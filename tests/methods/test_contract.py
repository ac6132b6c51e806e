"""The contract of every method, parametrized over the registry, so that new methods are covered automatically.

The runs are cached: most tests are assertions about the same four runs of a method.
"""

import copy
import functools
from dataclasses import dataclass
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

import raybench
from raybench import methods
from raybench.errors import UserError
from raybench.methods.framework.run import Outcome, run
from raybench.methods.framework.spec import MethodSpec, check, hyperparameters
from raybench.registry import spec_of

NAMES = methods.names()
CASES = [(name, kind) for name in NAMES for kind in spec_of(methods.get(name), MethodSpec).targets]
# one-shot edits and full passes in eval mode: the order of the samples only changes rounding
SAME_FOR_ALL_SEEDS = {"ssd", "lfssd"}


class Counted(nn.Sequential):
    """Count samples through forward and backward passes independently of the ledger."""

    forward_samples = 0
    backward_samples = 0

    def forward(self, x: Tensor) -> Tensor:
        Counted.forward_samples += len(x)
        features = x
        for layer in list(self)[:-1]:
            features = layer(features)
        if features.requires_grad:  # every loss depends on the features, but not every one on the logits
            features.register_hook(Counted.count_backward)
        return self[-1](features)

    @staticmethod
    def count_backward(gradient: Tensor) -> None:
        Counted.backward_samples += len(gradient)


@dataclass(frozen=True)
class Run:
    """One run of a method, and the input model before and after it."""

    before: nn.Module
    model: nn.Module
    outcome: Outcome
    counted: tuple[int, int]  # samples forward and backward
    keeps_random_state: bool


@dataclass(frozen=True)
class Runs:
    """Runs of one method, in this order: the third repeats the first, with an audit after every epoch."""

    first: Run
    elsewhere: nn.Module  # unlearned in float32 with the public function, from another model and other data
    audited: Run
    epochs: list[int]  # as the audit was told
    other_seed: Run


def setting(kind: str, **changes: Any) -> dict[str, Any]:
    multi_label = kind == "multi_label"
    data = {
        "forget": tiny.samples(7, seed=1, multi_label=multi_label),
        "retain": tiny.samples(13, seed=2, multi_label=multi_label),
        "calibration": tiny.samples(30, seed=3, multi_label=multi_label),
    }
    return {**data, **changes}


def unlearn(name: str, kind: str, model: nn.Module, **changes: Any) -> nn.Module:
    options = {"batch_size": 4, **tiny.short(name), **setting(kind), **changes}
    return raybench.unlearn(model, method=name, **options)


def mixed_flags(*, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return a network with one layer in train mode and one frozen."""
    model = tiny.net(seed=seed, norm=True, dtype=dtype)
    model[0].train()
    model[3].requires_grad_(False)
    return model


def start(name: str, kind: str, **options: Any) -> Run:
    model = Counted(*mixed_flags())
    before = copy.deepcopy(model)
    Counted.forward_samples = Counted.backward_samples = 0
    state = torch.get_rng_state()
    outcome = tiny.outcome(name, model, **setting(kind), **tiny.short(name), **options)
    counted = (Counted.forward_samples, Counted.backward_samples)
    return Run(before, model, outcome, counted, torch.equal(state, torch.get_rng_state()))


@functools.cache
def multi_label_run(name: str) -> Run:
    return start(name, "multi_label")


@functools.cache
def runs_of(name: str) -> Runs:
    epochs: list[int] = []
    probe = torch.randn(2, 1, 6, 6, dtype=torch.float64)

    def audit(task: Any, epoch: int) -> None:
        epochs.append(epoch)
        task.model.eval()
        with torch.inference_mode():
            task.model(probe)

    first = start(name, "single_label", seed=5)
    model = mixed_flags(seed=1, dtype=torch.float32)
    before = copy.deepcopy(model)
    elsewhere = unlearn(name, "single_label", model, forget=tiny.samples(5, seed=9))
    assert_unchanged(elsewhere, model, before)
    audited = start(name, "single_label", seed=5, on_epoch=audit)
    return Runs(first, elsewhere, audited, epochs, start(name, "single_label", seed=6))


def run_of(name: str, kind: str) -> Run:
    return runs_of(name).first if kind == "single_label" else multi_label_run(name)


def assert_unchanged(result: nn.Module, model: nn.Module, before: nn.Module) -> None:
    """Check that the input model is as before, and that the result has its flags."""
    assert tiny.distance(model, before) == 0
    for one, two, was in zip(result.modules(), model.modules(), before.modules()):
        assert one.training == two.training == was.training
    for one, two, was in zip(result.parameters(), model.parameters(), before.parameters()):
        assert one.requires_grad == two.requires_grad == was.requires_grad
        assert one.dtype == was.dtype
        assert one.grad is None


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_method_ends_with_finite_weights_and_leaves_its_input_as_it_was(name: str, kind: str) -> None:
    run = run_of(name, kind)
    result = run.outcome.model
    assert all(torch.isfinite(value).all() for value in result.state_dict().values())
    assert_unchanged(result, run.model, run.before)
    assert [m._forward_pre_hooks for m in result.modules() if m._forward_pre_hooks] == []


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_method_keeps_the_callers_random_state(name: str, kind: str) -> None:
    assert run_of(name, kind).keeps_random_state


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_ledger_equals_the_samples_that_went_through_the_models(name: str, kind: str) -> None:
    run = run_of(name, kind)
    ledger = run.outcome.ledger
    assert (ledger.samples_forward, ledger.samples_backward) == run.counted
    assert ledger.seconds > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_repeats_a_run_after_other_runs_and_with_an_audit_that_is_not_counted(name: str) -> None:
    runs = runs_of(name)
    assert tiny.distance(runs.first.outcome.model, runs.audited.outcome.model) == 0
    assert runs.first.outcome.ledger.samples_forward == runs.audited.outcome.ledger.samples_forward
    assert runs.epochs == list(range(len(runs.epochs)))  # through all stages


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_another_model(name: str) -> None:
    runs = runs_of(name)
    distance = tiny.distance(runs.first.outcome.model, runs.other_seed.outcome.model)
    assert distance < 1e-9 if name in SAME_FOR_ALL_SEEDS else distance > 0


@pytest.mark.parametrize("name", NAMES)
def test_float32_models_stay_float32(name: str) -> None:
    assert {p.dtype for p in runs_of(name).elsewhere.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", NAMES)
def test_the_hook_stops_a_method_after_an_epoch(name: str) -> None:
    calls: list[int] = []

    def stop(_: Any, epoch: int) -> str:
        calls.append(epoch)
        return "enough"

    result = tiny.outcome(name, tiny.net(norm=True), on_epoch=stop, **setting("single_label"), **tiny.short(name))
    assert calls in ([], [0])
    assert result.stopped == ("enough" if calls else None)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_stops_at_its_budget(name: str) -> None:
    result = tiny.outcome(name, tiny.net(), max_samples=10, **setting("single_label"), **tiny.short(name))
    assert result.stopped == "the budget of 10 samples is spent"
    assert 10 <= result.ledger.samples_forward < 10 + 2 * 13


SMALL = {
    "a forget set smaller than a batch": {"forget": tiny.samples(2, seed=4)},
    "one forget sample": {"forget": tiny.samples(1, seed=4)},
    "a last batch of one": {"forget": tiny.samples(5, seed=4), "retain": tiny.samples(9, seed=5)},
    "a forget set of one class": {"forget": tiny.samples(6, seed=4, label=1)},
    "a class forgotten altogether": {
        "forget": tiny.samples(6, seed=4, label=2),
        "retain": [(x, int(y) % 2) for x, y in tiny.samples(13, seed=5)],
    },
    "labels of one value": {"forget": tiny.samples(6, seed=4, label=1), "retain": tiny.samples(9, seed=5, label=1)},
}


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("name", NAMES)
def test_a_method_survives_small_and_uniform_sets_or_refuses_them_before_it_trains(name: str, case: str) -> None:
    task, arguments = tiny.make_task(
        tiny.net(norm=True), method=name, **setting("single_label", **SMALL[case]), **tiny.short(name)
    )
    try:
        result = run(methods.get(name), task, arguments)
    except UserError:
        assert case == "labels of one value"
        assert task.ledger.steps == 0
    else:
        assert all(torch.isfinite(value).all() for value in result.model.state_dict().values())


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_passes_a_batch_norm_without_space(name: str) -> None:
    layers = list(tiny.net())
    model = nn.Sequential(*layers[:8], nn.BatchNorm1d(5), *layers[8:]).double()
    data = setting("single_label", forget=tiny.samples(5, seed=4), retain=tiny.samples(9, seed=5))
    result = unlearn(name, "single_label", model, **data)
    assert all(torch.isfinite(value).all() for value in result.state_dict().values())


@pytest.mark.parametrize("name", NAMES)
def test_targets_that_a_method_is_not_defined_for_are_refused(name: str) -> None:
    for kind in {"single_label", "multi_label"} - set(spec_of(methods.get(name), MethodSpec).targets):
        with pytest.raises(UserError, match=f"not defined for {kind}"):
            unlearn(name, kind, tiny.net())


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_and_every_default_is_valid_and_says_what_it_means(name: str) -> None:
    function = methods.get(name)
    spec = spec_of(function, MethodSpec)
    for preset in spec.presets:
        check(name, function, {"preset": preset})
    check(name, function, {})
    assert spec.source
    assert spec.formula
    assert spec.passes
    assert function.__doc__
    fields = hyperparameters(function).model_fields
    for parameter in fields:
        assert parameter in ("lr", "epochs") or fields[parameter].description or parameter in function.__doc__
