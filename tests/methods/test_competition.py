"""fcs, msg, cfw and convolution_transpose: winners of the NeurIPS 2023 competition."""

import copy
import math

import architectures
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import nn

import raybench
from raybench.data.reading.batches import seed_for
from raybench.errors import UserError
from raybench.methods.competition import balanced_weights, smallest, triangle

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


@pytest.mark.parametrize("norm", [False, True])
def test_fcs_makes_forget_uniform_and_then_contrasts_and_repairs(norm: bool) -> None:
    model = tiny.net(norm=norm)
    student = copy.deepcopy(model).train()
    (x_f, _), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    parameters = list(student.parameters())
    uniform, repair, contrast = (
        tiny.PlainSGD(parameters, lr, 0.9, decay) for lr, decay in ((0.005, 0), (0.001, 0.01), (3e-4, 0))
    )
    logs = torch.log_softmax(student(x_f), 1)
    uniform.step((math.log(1 / 3) - logs).mean(1).mean())
    for epoch in range(3):
        contrast.lr = 1e-6 + (3e-4 - 1e-6) * (1 + math.cos(math.pi * epoch / 3)) / 2
        forget = student(x_f)
        retain = student(x_r).detach()
        rows = [torch.log_softmax(torch.stack([z @ r / 1.15 for r in retain]), 0) for z in forget]
        contrast.step(-torch.stack(rows).mean())
        repair.step(F.cross_entropy(student(x_r), y_r))
    rates = {"lr": 0.001, "uniform_lr": 0.005, "contrast_lr": 3e-4, "contrast_lr_end": 1e-6}
    tiny.assert_same(tiny.plain("fcs", model, FORGET, RETAIN, epochs=3, batch_size=8, **rates), student)


def test_msg_redraws_the_smallest_gradients_and_slows_the_rest() -> None:
    model = tiny.net()
    retain = RETAIN[:4]
    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(retain)
    convs = [model[0].weight, model[3].weight]
    loss = F.cross_entropy(model(x_r), y_r) - F.cross_entropy(model(x_f), y_f)
    gradients = torch.autograd.grad(loss, convs)
    student = copy.deepcopy(model)
    factors = {}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed_for("torch", 0))
        for index, gradient in zip((0, 3), gradients):
            weight = student[index].weight
            keep = gradient.abs().flatten().argsort(stable=True)[round(0.3 * gradient.numel()) :]
            fresh = torch.randn_like(weight) * math.sqrt(2 / (weight.shape[0] * 9))
            fresh.view(-1)[keep] = weight.view(-1)[keep]
            weight.copy_(fresh)
            factor = torch.ones_like(weight)
            factor.view(-1)[keep] = 0.1
            factors[index] = factor
    masks = [factors.get(int(name[0]), 1.0) if "weight" in name else 1.0 for name, _ in student.named_parameters()]
    sgd = tiny.PlainSGD(student.parameters(), 0.05)
    for rate in (0.5, 1.0, 0.5):
        sgd.lr = 0.05 * rate
        sgd.step(F.cross_entropy(student(x_r), y_r), masks=[torch.as_tensor(m) for m in masks])
    tiny.assert_same(tiny.plain("msg", model, FORGET, retain, lr=0.05, epochs=3), student)


def test_the_rate_of_msg_rises_and_falls() -> None:
    assert [triangle(epoch, 5) for epoch in range(5)] == pytest.approx([1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    assert triangle(0, 1) == 1


def test_the_smallest_share_breaks_ties_by_position() -> None:
    assert smallest(torch.tensor([[0.0, -3.0], [0.0, 0.0]]), 0.5).tolist() == [[True, False], [True, False]]


def test_cfw_confuses_the_first_convolution_and_weakens_it_before_the_last_epoch() -> None:
    model = tiny.net(norm=True)
    retain = [*RETAIN, *tiny.samples(4, seed=9, label=0)]
    student = copy.deepcopy(model).train()
    x, y = tiny.stack(retain)
    counts = torch.bincount(y).double()
    weights = (len(y) / (3 * counts))[y]
    sgd = tiny.PlainSGD(student.parameters(), 7e-4)
    with torch.random.fork_rng():
        torch.manual_seed(seed_for("torch", 0))
        with torch.no_grad():
            student[0].weight.add_(0.6 * torch.randn_like(student[0].weight))
        for epoch in range(3):
            sgd.lr = 7e-4 * (1 + math.cos(math.pi * epoch / 3)) / 2
            if epoch == 2:
                with torch.no_grad():
                    student[0].weight.add_(0.005 * torch.randn_like(student[0].weight))
            sgd.step((weights * F.cross_entropy(student(x), y, reduction="none")).mean())
    tiny.assert_same(tiny.plain("cfw", model, FORGET, retain, lr=7e-4, epochs=3, batch_size=64), student)


def test_balanced_weights_give_every_present_class_the_same_say() -> None:
    task, _ = tiny.make_task(tiny.net(), FORGET, [(x, 0 if i < 6 else 2) for i, (x, _) in enumerate(RETAIN)])
    weights = balanced_weights(task)
    assert weights.tolist() == pytest.approx([8 / 12, 0, 2])


def test_convolution_transpose_turns_kernels_over_and_fine_tunes() -> None:
    model = tiny.net()
    student = copy.deepcopy(model)
    with torch.no_grad():
        for index in (0, 3):
            kernel = student[index].weight.clone()
            for i in range(3):
                for j in range(3):
                    student[index].weight[:, :, i, j] = kernel[:, :, j, i]
    sgd = tiny.PlainSGD(student.parameters(), 0.05)
    x, y = tiny.stack(RETAIN)
    for rate in (1.0, 0.5):
        sgd.lr = 0.05 * rate
        sgd.step(F.cross_entropy(student(x), y))
    tiny.assert_same(
        tiny.plain("convolution_transpose", model, FORGET, RETAIN, lr=0.05, epochs=2, batch_size=8), student
    )


def test_a_turned_network_says_of_turned_images_what_it_said_before() -> None:
    model = tiny.net()
    options = {"lr": 1e-12, "epochs": 1, "weight_decay": 0.0}
    turned = tiny.plain("convolution_transpose", model, FORGET, RETAIN, **options)
    x, _ = tiny.stack(FORGET)
    assert torch.allclose(turned(x.transpose(2, 3)), model(x), atol=1e-8)


@pytest.mark.parametrize("method", ["msg", "cfw", "convolution_transpose"])
def test_a_network_without_convolutions_is_refused(method: str) -> None:
    with pytest.raises(UserError, match="convolutions"):
        tiny.plain(method, nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double(), FORGET, RETAIN)


def test_convolution_transpose_refuses_a_vision_transformer() -> None:
    data = [(torch.randn(3, 32, 32), i % 3) for i in range(4)]
    with pytest.raises(UserError, match="convolutions"):
        raybench.unlearn(architectures.small("vit"), method="convolution_transpose", forget=data, retain=data)
