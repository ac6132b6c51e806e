"""What every method keeps, whatever it does: parametrized over the registry, so a new method is tested by existing."""

import copy
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

import raybench
from raybench import methods
from raybench.errors import UserError
from raybench.methods.framework.run import run
from raybench.methods.framework.spec import MethodSpec, check, hyperparameters
from raybench.registry import spec_of

NAMES = methods.names()
CASES = [(name, kind) for name in NAMES for kind in spec_of(methods.get(name), MethodSpec).targets]
# one-shot edits and full passes in eval mode: the order of the samples changes rounding only
SAME_FOR_ALL_SEEDS = {"ssd", "lfssd"}


class Counted(nn.Sequential):
    """Counts samples through forward and backward on its own, to check the ledger by."""

    forward_samples = 0
    backward_samples = 0

    def forward(self, x: Tensor) -> Tensor:
        Counted.forward_samples += len(x)
        features = x
        for layer in list(self)[:-1]:
            features = layer(features)
        if features.requires_grad:  # every loss goes through the features, not every one through the logits
            features.register_hook(Counted.count_backward)
        return self[-1](features)

    @staticmethod
    def count_backward(gradient: Tensor) -> None:
        Counted.backward_samples += len(gradient)


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


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_method_ends_with_finite_weights_and_leaves_its_input_as_it_was(name: str, kind: str) -> None:
    model = tiny.net(norm=True)
    model[0].train()
    model[3].requires_grad_(False)
    before = copy.deepcopy(model)
    result = unlearn(name, kind, model)
    assert all(torch.isfinite(value).all() for value in result.state_dict().values())
    assert tiny.distance(model, before) == 0
    for one, two, was in zip(result.modules(), model.modules(), before.modules()):
        assert one.training == two.training == was.training
    for one, two, was in zip(result.parameters(), model.parameters(), before.parameters()):
        assert one.requires_grad == two.requires_grad == was.requires_grad
        assert one.dtype == was.dtype
        assert one.grad is None
    assert [m._forward_pre_hooks for m in result.modules() if m._forward_pre_hooks] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_method_repeats_itself_for_a_seed_and_differs_for_another(name: str) -> None:
    model = tiny.net(norm=True)
    first, second, other = (unlearn(name, "single_label", model, seed=seed) for seed in (5, 5, 6))
    assert tiny.distance(first, second) == 0
    if name in SAME_FOR_ALL_SEEDS:
        assert tiny.distance(first, other) < 1e-9
    else:
        assert tiny.distance(first, other) > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_method_leaves_no_state_for_the_next_trial(name: str) -> None:
    alone = unlearn(name, "single_label", tiny.net(seed=2, norm=True))
    unlearn(name, "single_label", tiny.net(seed=1, norm=True), forget=tiny.samples(5, seed=9))
    assert tiny.distance(alone, unlearn(name, "single_label", tiny.net(seed=2, norm=True))) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_method_keeps_the_callers_random_state(name: str) -> None:
    torch.manual_seed(3)
    unlearn(name, "single_label", tiny.net())
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_ledger_equals_the_samples_that_went_through_the_models(name: str, kind: str) -> None:
    model = Counted(*tiny.net(norm=True))
    Counted.forward_samples = Counted.backward_samples = 0
    ledger = tiny.outcome(name, model, **setting(kind), **tiny.short(name)).ledger
    assert (ledger.samples_forward, ledger.samples_backward) == (Counted.forward_samples, Counted.backward_samples)
    assert ledger.seconds > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_audit_at_the_end_of_an_epoch_changes_nothing_and_is_not_counted(name: str) -> None:
    probe = torch.randn(2, 1, 6, 6, dtype=torch.float64)

    def audit(task: Any, epoch: int) -> None:
        task.model.eval()
        with torch.inference_mode():
            task.model(probe)

    model, options = tiny.net(norm=True), {**setting("single_label"), **tiny.short(name)}
    watched = tiny.outcome(name, model, on_epoch=audit, **options)
    unwatched = tiny.outcome(name, model, **options)
    assert tiny.distance(watched.model, unwatched.model) == 0
    assert watched.ledger.samples_forward == unwatched.ledger.samples_forward


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
def test_epoch_numbers_run_on_through_all_stages(name: str) -> None:
    calls: list[int] = []
    options = {**setting("single_label"), **tiny.short(name)}
    tiny.outcome(name, tiny.net(), on_epoch=lambda _, epoch: calls.append(epoch), **options)
    assert calls == list(range(len(calls)))


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
    for parameter in hyperparameters(function).model_fields:
        assert parameter in ("lr", "epochs") or f"{parameter}" in function.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_float32_models_stay_float32(name: str) -> None:
    result = unlearn(name, "single_label", tiny.net(norm=True, dtype=torch.float32))
    assert {p.dtype for p in result.parameters()} == {torch.float32}
