import copy
from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raybench import methods
from raybench.methods.distil import angle_cosines, relative_distances, row_similarity
from raybench.methods.framework.spec import MethodSpec, hyperparameters
from raybench.registry import spec_of

FORGET = tiny.samples(4, seed=1, label=2)
RETAIN = [(x, int(y) % 2) for x, y in tiny.samples(8, seed=2)]


def similarity_loss(h: Tensor, t: Tensor, squared: bool) -> Tensor:
    g, u = (m @ m.T for m in (h, t))
    gap = torch.sqrt((((g / g.norm(dim=1, keepdim=True)) - (u / u.norm(dim=1, keepdim=True))) ** 2).sum())
    return (gap**2 if squared else gap) / len(h) ** 2


def unit(a: Tensor) -> Tensor:
    length = a.norm()
    return a / length if length > 0 else torch.zeros_like(a)


def plain_distances(h: Tensor) -> Tensor:
    b = len(h)
    d = torch.stack(
        [torch.stack([(h[i] - h[j]).norm() if i != j else h.sum() * 0 for j in range(b)]) for i in range(b)]
    )
    return d / (d.sum() / (b * b - b))


def plain_angles(h: Tensor) -> Tensor:
    b = len(h)
    rows = [[[unit(h[j] - h[i]) @ unit(h[k] - h[i]) for k in range(b)] for j in range(b)] for i in range(b)]
    return torch.stack([torch.stack([torch.stack(row) for row in table]) for table in rows])


def smooth_l1(a: Tensor, b: Tensor) -> Tensor:
    gap = (a - b).abs()
    return torch.where(gap < 1, gap**2 / 2, gap - 0.5).mean()


def kl(z: Tensor, t: Tensor, temperature: float) -> Tensor:
    p, q = torch.softmax(t / temperature, 1), torch.softmax(z / temperature, 1)
    return temperature**2 * (p * (p.log() - q.log())).sum(1).mean()


Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # features, original's, logits, original's
RELEASED: dict[str, Loss] = {
    "spkd": lambda h, t, z, u: 10 * similarity_loss(h, t, squared=False),
    "rkd": lambda h, t, z, u: (
        10 * smooth_l1(plain_distances(F.normalize(h)), plain_distances(F.normalize(t)))
        + 10 * smooth_l1(plain_angles(F.normalize(h)), plain_angles(F.normalize(t)))
    ),
    "akd": lambda h, t, z, u: 10 * ((h - t) ** 2).mean(),
    "ga_kd": lambda h, t, z, u: 10 * kl(z, u, 2.0),
}


def run_plain(model: nn.Module, extra: Loss, *, lr: float, ce: float, forget_loss: str, steps: int = 2) -> nn.Module:
    student, teacher = copy.deepcopy(model).train(), copy.deepcopy(model).eval()
    sgd = tiny.PlainSGD(student.parameters(), lr)
    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    second = teacher(x_f)[:, :2].argmax(1)
    for _ in range(steps):
        logits = student(x_f)
        sgd.step(-F.cross_entropy(logits, y_f) if forget_loss == "ascent" else F.cross_entropy(logits, second))
        h, t = student[:-1](x_r), teacher[:-1](x_r).detach()
        z, u = student[-1](h), teacher[-1](t).detach()
        sgd.step(ce * F.cross_entropy(z, y_r) + extra(h, t, z, u))
    return student


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("name", RELEASED)
def test_the_uuef_preset_is_the_released_loop_weight_for_weight(name: str, norm: bool) -> None:
    model = tiny.net(norm=norm)
    lr = 0.01
    expected = run_plain(model, RELEASED[name], lr=lr, ce=10, forget_loss="ascent")
    result = tiny.plain(name, model, FORGET, RETAIN, preset="uuef", lr=lr, epochs=2, batch_size=8)
    tiny.assert_same(result, expected)


@pytest.mark.parametrize("name", RELEASED)
def test_the_pseudo_label_preset_changes_the_forget_pass_only(name: str) -> None:
    model = tiny.net(norm=True)
    loss, ce = RELEASED[name], 10.0
    if name == "ga_kd":  # the release weighs both terms by 1 here
        loss, ce = (lambda h, t, z, u: kl(z, u, 2.0)), 1.0
    expected = run_plain(model, loss, lr=0.01, ce=ce, forget_loss="pseudo_label")
    result = tiny.plain(name, model, FORGET, RETAIN, preset="uuef_pl", lr=0.01, epochs=2, batch_size=8)
    tiny.assert_same(result, expected)


JOINT: dict[str, tuple[Loss, float]] = {  # the losses on retain, and the weight of the cross-entropy
    "spkd": (RELEASED["spkd"], 10.0),
    "akd": (RELEASED["akd"], 10.0),
    "rkd": (lambda h, t, z, u: 2 * RELEASED["rkd"](h, t, z, u), 20.0),
}


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("name", "batches"), [("spkd", [0, 1, 2, 0]), ("akd", [0, 1, 2, 0]), ("rkd", [0, 1, 0, 1])])
def test_the_joint_presets_take_one_step_per_pair_of_batches(name: str, batches: list[int], norm: bool) -> None:
    forget, retain = FORGET * 2, RETAIN + RETAIN[:4]
    model = tiny.net(norm=norm)
    student, teacher = copy.deepcopy(model).train(), copy.deepcopy(model)
    sgd = tiny.PlainSGD(student.parameters(), 0.01)
    extra, ce = JOINT[name]
    for step, batch in enumerate(batches):  # the retain set is cycled through both epochs, or starts again
        (x_f, y_f), (x_r, y_r) = tiny.batches(forget, 4)[step % 2], tiny.batches(retain, 4)[batch]
        ascent = -F.cross_entropy(student(x_f), y_f)
        h, t = student[:-1](x_r), teacher[:-1](x_r).detach()
        z, u = student[-1](h), teacher[-1](t).detach()
        # the root of a sum of squares, the plain form of SPKD, has no gradient where student and teacher are equal
        repair = extra(h, t, z, u) if norm or step or name != "spkd" else 0.0
        sgd.step(ascent + ce * F.cross_entropy(z, y_r) + repair)
    tiny.assert_same(tiny.plain(name, model, forget, retain, preset="uuef_il", lr=0.01, epochs=2), student)


@pytest.mark.parametrize("norm", [False, True])
def test_pseudo_labels_with_preserved_forget_similarities_read_no_retain_sample(norm: bool) -> None:
    model = tiny.net(norm=norm)
    student, teacher = copy.deepcopy(model).train(), copy.deepcopy(model)
    sgd = tiny.PlainSGD(student.parameters(), 0.01)
    x, _ = tiny.stack(FORGET)
    t = teacher[:-1](x).detach()
    second = teacher(x)[:, :2].argmax(1)
    for step in range(3):
        loss = 10 * F.cross_entropy(student(x), second)
        h = student[:-1](x)  # a second forward pass, which moves the running statistics again
        sgd.step(loss + (10 * similarity_loss(h, t, squared=False) if norm or step else 0.0))
    options: dict[str, Any] = {"preset": "uuef_pl_df", "lr": 0.01, "epochs": 3}
    tiny.assert_same(tiny.plain("spkd", model, FORGET, RETAIN, **options), student)
    others = [(x, y) for (x, _), (_, y) in zip(tiny.samples(8, seed=9), RETAIN)]
    tiny.assert_same(tiny.plain("spkd", model, FORGET, others, **options), student)


def test_joint_steps_take_random_labels_by_position() -> None:
    model = tiny.net()
    options: dict[str, Any] = {"forget_loss": "random_label", "ce_weight": 0.0, "feature_weight": 0.0, "epochs": 2}
    joint = tiny.plain("akd", model, FORGET * 2, RETAIN, steps="forget", shuffle=True, lr=0.001, **options)
    alone = tiny.plain(
        "random_label",
        model,
        FORGET * 2,
        RETAIN,
        labels="redrawn",
        retain_pass="none",
        lr=0.001,
        shuffle=True,
        epochs=2,
    )
    tiny.assert_same(joint, alone)


@pytest.mark.parametrize("name", RELEASED)
def test_a_preset_states_every_weight_of_its_losses_so_that_another_default_leaves_it_as_it_is(name: str) -> None:
    function = methods.get(name)
    weights = {key for key in hyperparameters(function).model_fields if key.endswith(("weight", "temperature"))}
    assert weights
    for values in spec_of(function, MethodSpec).presets.values():
        assert weights <= set(values)


def test_the_published_similarity_loss_squares_the_norm() -> None:
    model = tiny.net()
    expected = run_plain(
        model, lambda h, t, z, u: 500 * similarity_loss(h, t, squared=True), lr=0.01, ce=1, forget_loss="ascent"
    )
    options: dict[str, Any] = {"lr": 0.01, "epochs": 2, "similarity_weight": 500.0, "batch_size": 8}
    tiny.assert_same(tiny.plain("spkd", model, FORGET, RETAIN, **options), expected)


def test_relations_of_features_do_not_need_their_differences() -> None:
    h = torch.randn(6, 9, dtype=torch.float64, requires_grad=True)
    for ours, slow in ((relative_distances, plain_distances), (angle_cosines, plain_angles)):
        assert torch.allclose(ours(h), slow(h), atol=1e-10)
        direction = torch.randn_like(ours(h))
        (a,) = torch.autograd.grad((ours(h) * direction).sum(), h)
        (b,) = torch.autograd.grad((slow(h) * direction).sum(), h)
        assert torch.allclose(a, b, atol=1e-8)


def test_equal_features_have_finite_gradients_at_no_distance() -> None:
    h = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    loss = relative_distances(h).sum() + angle_cosines(h).sum() + row_similarity(h).sum()
    (gradient,) = torch.autograd.grad(loss, h)
    assert bool(torch.isfinite(gradient).all())


def test_a_student_that_equals_its_teacher_has_a_finite_unsquared_similarity_gradient() -> None:
    h = torch.randn(4, 3, dtype=torch.float64)
    student = h.clone().requires_grad_(True)
    gap = torch.linalg.matrix_norm(row_similarity(student) - row_similarity(h))
    (gradient,) = torch.autograd.grad(gap, student)
    assert bool(torch.isfinite(gradient).all())
