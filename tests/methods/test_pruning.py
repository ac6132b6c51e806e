"""selective_pruning, selective_pruning_last, selective_pruning_complex and activation_reset."""

import copy

import architectures
import numpy as np
import pytest
import tiny
import torch
from torch import nn

import raybench
from raybench import methods
from raybench.data.reading.batches import seed_for
from raybench.errors import UserError
from raybench.methods.activation_reset import mean_activations
from raybench.methods.building_blocks.fine_tuning import overfit
from raybench.methods.building_blocks.reinitialization import redraw
from raybench.methods.framework.architecture import spatial_convolutions, weight_matrices
from raybench.methods.framework.run import run
from raybench.methods.selective_pruning import quantile_of, unmoved

FORGET, RETAIN = tiny.samples(6, seed=1), tiny.samples(20, seed=2)
STILL = {"lr": 1e-12, "epochs": 1, "weight_decay": 0.0}  # the repair that follows moves nothing that counts


def changed(method: str, **options: float) -> dict[str, float]:
    """Return, for each parameter, the share of entries that the edit before the repair redrew."""
    model = tiny.net(norm=True)
    result = tiny.plain(method, model, FORGET, RETAIN, **{**STILL, **options})
    pairs = zip(model.named_parameters(), result.parameters())
    return {name: float(((new - old).abs() > 1e-6).double().mean()) for (name, old), new in pairs}


def test_selective_pruning_redraws_its_share_of_every_weight_tensor_and_nothing_else() -> None:
    shares = changed("selective_pruning", quantile=0.3)
    for name, share in shares.items():
        if name in ("0.weight", "3.weight", "8.weight"):
            assert share == pytest.approx(0.3, abs=1 / 15)
        else:
            assert share == 0


def test_pruning_the_last_layer_touches_its_weight_only() -> None:
    shares = changed("selective_pruning_last", quantile=0.3)
    assert shares.pop("8.weight") == pytest.approx(0.3, abs=1 / 15)
    assert set(shares.values()) == {0.0}


def test_complex_pruning_redraws_something_but_no_more_than_either_quantile() -> None:
    shares = changed("selective_pruning_complex", quantile=0.3, retain_fraction=0.3)
    assert 0 < shares["3.weight"] <= 0.31
    assert shares["3.bias"] == 0


def test_the_second_rate_of_complex_pruning_is_a_third_and_not_zero() -> None:
    _, arguments = tiny.make_task(tiny.net(), FORGET, RETAIN, method="selective_pruning_complex", preset="eth")
    assert arguments["retain_overfit_lr"] == pytest.approx(0.01 / 3)


def test_complex_pruning_as_released_redraws_nothing_and_fine_tunes_without_shuffling() -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train()
    parameters = list(student.parameters())
    velocity = [torch.zeros_like(p) for p in parameters]
    for _ in range(2):
        for x, y in tiny.batches(RETAIN, 4):
            loss = nn.functional.cross_entropy(student(x), y)
            for i, (p, g) in enumerate(zip(parameters, torch.autograd.grad(loss, parameters))):
                decayed = g + 5e-4 * p.detach()
                velocity[i] = 0.9 * velocity[i] + decayed
                p.data -= 0.001 * (decayed + 0.9 * velocity[i])  # Nesterov's momentum
    options = {"preset": "eth_code", "epochs": 2, "overfit_epochs": 2, "retain_fraction": 0.5}
    result = raybench.unlearn(
        model, method="selective_pruning_complex", forget=FORGET, retain=RETAIN, batch_size=4, **options
    )
    tiny.assert_same(result, student)


def test_the_least_changed_entries_are_those_strictly_below_the_quantile() -> None:
    before = torch.zeros(1, 5)
    after = torch.tensor([[0.5, -0.1, 0.2, -0.4, 0.3]])
    assert unmoved(before, after, 0.5).tolist() == [[False, True, True, False, False]]
    assert not bool(unmoved(before, before, 0.3).any())  # nothing moved: nothing is below its own quantile


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.77, 1.0])
def test_the_quantile_is_torchs(share: float) -> None:
    values = torch.randn(37, dtype=torch.float64)
    assert float(quantile_of(values, share)) == pytest.approx(float(torch.quantile(values, share)))


def test_redrawn_entries_have_kaimings_deviation() -> None:
    weight = torch.full((200, 8, 3, 3), 7.0)
    redraw(weight, torch.ones_like(weight, dtype=torch.bool))
    assert float(weight.std()) == pytest.approx((2 / 72) ** 0.5, rel=0.03)
    kept = torch.full((4, 2), 7.0)
    redraw(kept, torch.zeros_like(kept, dtype=torch.bool))
    assert kept.unique().tolist() == [7.0]


def test_a_copy_is_overfitted_and_the_model_stays() -> None:
    model = tiny.net(norm=True)
    task, _ = tiny.make_task(model, FORGET, RETAIN, shuffle=False)
    student = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(student.parameters(), 0.01)
    for _ in range(2):
        for x, y in tiny.batches(FORGET, 4):
            sgd.step(nn.functional.cross_entropy(student(x), y))
    found = overfit(task, task.forget, lr=0.01, epochs=2)
    assert all(torch.allclose(found[name], p, atol=1e-9) for name, p in student.named_parameters())
    assert tiny.distance(task.model, model) == 0
    assert task.ledger.samples_forward == task.ledger.samples_backward == 12


def test_each_activation_mean_is_divided_by_its_own_count() -> None:
    model = tiny.net(norm=True)
    task, _ = tiny.make_task(model, FORGET, RETAIN)
    layers = spatial_convolutions(task.model, method="test")
    for batches, data in ((task.forget(), FORGET), (task.retain(), RETAIN)):
        x, _ = tiny.stack(data)
        found = mean_activations(task, layers, batches)
        assert torch.allclose(found["0"], model[0](x).mean(0))
        assert torch.allclose(found["3"], model[3](model[:3](x)).mean(0))
    assert tiny.distance(task.model, model) == 0


def test_activation_reset_redraws_kernels_that_fire_for_the_forget_set_and_the_head() -> None:
    model = tiny.net()
    with torch.no_grad():
        model[0].weight.copy_(torch.stack([torch.full((1, 3, 3), sign) for sign in (1.0, -1.0, 1.0, -1.0)]))
    bright = [(x.abs(), y) for x, y in FORGET]
    dark = [(-x.abs(), y) for x, y in RETAIN]
    result = tiny.plain("activation_reset", model, bright, dark, **STILL, retain_fraction=1.0)
    moved = ((result[0].weight - model[0].weight).abs() > 1e-6).flatten(1).double().mean(1)
    assert moved.tolist() == [1.0, 0.0, 1.0, 0.0]
    assert bool(((result[-1].weight - model[-1].weight).abs() > 1e-9).all())
    assert torch.allclose(result[-1].bias, model[-1].bias, atol=1e-6)


@pytest.mark.parametrize("name", ["vit"])
def test_activation_reset_refuses_a_transformer_before_it_trains(name: str) -> None:
    model = architectures.small(name).eval()
    data = [(torch.randn(3, 32, 32), i % 3) for i in range(4)]
    task, arguments = tiny.make_task(model, data, data, method="activation_reset")
    with pytest.raises(UserError, match="convolutions"):
        run(methods.get("activation_reset"), task, arguments)
    assert task.ledger.samples_forward == 0


@pytest.mark.parametrize("name", architectures.NAMES)
def test_pruned_weights_are_those_of_layers_and_no_embeddings(name: str) -> None:
    model = architectures.small(name)
    found = set(weight_matrices(model))
    tables = {"class_token", "encoder.pos_embedding"}
    assert found <= {key for key, p in model.named_parameters() if p.ndim >= 2} - tables
    assert not any("relative_position" in key for key in found)
    assert len(found) >= 6


def plain_overfit(model: nn.Module, data: tiny.Samples, lr: float) -> nn.Module:
    copied = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(copied.parameters(), lr)
    for _ in range(2):
        for x, y in tiny.batches(data, 4):
            sgd.step(nn.functional.cross_entropy(copied(x), y))
    return copied


@pytest.mark.parametrize("variant", ["selective_pruning", "selective_pruning_last", "selective_pruning_complex"])
def test_pruning_redraws_by_overfitted_copies_and_then_fine_tunes(variant: str) -> None:
    model = tiny.net(norm=True)
    rows = np.random.default_rng(seed_for("method", 0)).choice(20, size=10, replace=False)
    copies = [plain_overfit(model, FORGET, 0.01)]
    if variant == "selective_pruning_complex":
        copies.append(plain_overfit(model, [RETAIN[i] for i in rows], 0.01 / 3))
    names = ["8.weight"] if variant == "selective_pruning_last" else ["0.weight", "3.weight", "8.weight"]
    student = copy.deepcopy(model).train()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed_for("torch", 0))
        for name in names:
            weight = student.get_parameter(name)
            chosen = torch.ones_like(weight, dtype=torch.bool)
            for other in copies:
                gap = (model.get_parameter(name) - other.get_parameter(name)).abs()
                chosen &= gap < torch.quantile(gap, 0.3)
            fresh = torch.randn_like(weight) * (2 / weight[0].numel()) ** 0.5
            weight[chosen] = fresh[chosen]
    sgd = tiny.PlainSGD(student.parameters(), 0.05)
    for x, y in tiny.batches(RETAIN, 4):
        sgd.step(nn.functional.cross_entropy(student(x), y))
    options: dict[str, float] = {"lr": 0.05, "epochs": 1, "overfit_epochs": 2}
    if variant == "selective_pruning_complex":
        options["retain_fraction"] = 0.5
    tiny.assert_same(tiny.plain(variant, model, FORGET, RETAIN, **options), student)


def test_activation_reset_redraws_by_mean_activations_and_then_fine_tunes() -> None:
    model = tiny.net(norm=True)
    rows = np.random.default_rng(seed_for("method", 0)).choice(20, size=10, replace=False)
    forget, retain = (tiny.stack(data)[0] for data in (FORGET, [RETAIN[i] for i in rows]))
    student = copy.deepcopy(model).train()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed_for("torch", 0))
        for end in (1, 4):
            outputs = [model[:end](x).mean(0) for x in (forget, retain)]
            larger = (outputs[0] > outputs[1]).flatten(1).sum(1)
            weight = student[end - 1].weight
            fresh = torch.randn_like(weight) * (2 / weight[0].numel()) ** 0.5
            chosen = larger > 0.5 * 36
            assert 0 < int(chosen.sum()) < len(chosen)
            weight[chosen] = fresh[chosen]
        student[8].weight.copy_(torch.randn_like(student[8].weight) * (2 / 5) ** 0.5)
    sgd = tiny.PlainSGD(student.parameters(), 0.05)
    for x, y in tiny.batches(RETAIN, 4):
        sgd.step(nn.functional.cross_entropy(student(x), y))
    options: dict[str, float] = {"lr": 0.05, "epochs": 1, "positions": 0.5, "retain_fraction": 0.5}
    tiny.assert_same(tiny.plain("activation_reset", model, FORGET, RETAIN, **options), student)
