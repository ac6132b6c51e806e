"""contrastive_unlearning, duck and scar: methods that move forget features."""

import copy
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raybench import methods
from raybench.errors import UserError
from raybench.methods.building_blocks.centroids import class_means, nearest, original_features
from raybench.methods.contrastive_unlearning import contrastive_loss
from raybench.methods.framework.run import run
from raybench.methods.scar import class_shapes, tukey

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


def plain_contrast(h: Tensor, y: Tensor, others: Tensor, labels: Tensor, temperature: float) -> Tensor:
    total = h.sum() * 0
    for i in range(len(h)):
        cosines = torch.stack([F.cosine_similarity(h[i], o, dim=0) / temperature for o in others])
        logs = cosines - cosines.exp().sum().log()
        far = [-logs[j] for j in range(len(others)) if labels[j] != y[i]]
        if far:
            total = total + torch.stack(far).mean()
    return total / len(h)


@pytest.mark.parametrize("released", [True, False])
def test_contrastive_unlearning_pulls_forget_features_to_other_classes(released: bool) -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(student.parameters(), 0.01)
    (x_f, y_f), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    for _ in range(2):
        h_f = student[:-1](x_f)
        h_r = student[:-1](x_r)
        contrast = plain_contrast(h_f, y_f, h_f, y_f, 1.0) if released else plain_contrast(h_f, y_f, h_r, y_r, 0.5)
        sgd.step(F.cross_entropy(student[-1](h_r), y_r) + contrast)
    options: dict[str, Any] = {"preset": "uuef"} if released else {"lr": 0.01}
    result = tiny.plain("contrastive_unlearning", model, FORGET, RETAIN, epochs=2, batch_size=8, **options)
    tiny.assert_same(result, student)


def test_a_forget_batch_of_one_class_has_no_released_contrast_but_a_published_one() -> None:
    h, y = torch.randn(4, 3).double(), torch.tensor([1, 1, 1, 1])
    assert float(contrastive_loss(h, y, h, y, 1.0)) == 0
    others = torch.randn(5, 3).double()
    assert float(contrastive_loss(h, y, others, torch.tensor([0, 2, 0, 1, 1]), 1.0)) > 0


def plain_duck(model: nn.Module, forget: Any, retain: Any, *, lr: float, epochs: int) -> nn.Module:
    student, teacher = copy.deepcopy(model).train(), copy.deepcopy(model)
    sgd = tiny.PlainSGD(student.parameters(), lr)
    x_all, y_all = tiny.stack(retain)
    h = teacher[:-1](x_all).detach()
    centroids = {int(c): h[y_all == c].mean(0) for c in y_all.unique()}
    retain_batches = tiny.batches(retain, 4)
    taken = 0
    for _ in range(epochs):
        for x_f, y_f in tiny.batches(forget, 4):
            for _ in range(2):
                x_r, y_r = retain_batches[taken % len(retain_batches)]
                taken += 1
                features = student[:-1](x_f)
                far = []
                for f, label in zip(features, y_f):
                    others = [m for c, m in centroids.items() if c != int(label)]
                    far.append(torch.stack([1 - F.cosine_similarity(f, m, dim=0) for m in others]).min())
                keep = F.cross_entropy(student(x_r) / 2, y_r)
                sgd.step(1.5 * torch.stack(far).mean() + 1.5 * keep)
    return student


def test_duck_sends_each_feature_to_the_nearest_centroid_of_another_class() -> None:
    model = tiny.net(norm=True)
    forget, retain = tiny.samples(8, seed=1), tiny.samples(12, seed=2)
    expected = plain_duck(model, forget, retain, lr=0.02, epochs=2)
    tiny.assert_same(tiny.plain("duck", model, forget, retain, lr=0.02, epochs=2), expected)


def test_ducks_forget_loss_is_not_zero_at_any_step(monkeypatch: pytest.MonkeyPatch) -> None:
    pulls: list[float] = []
    task, arguments = tiny.make_task(
        tiny.net(), tiny.samples(20, seed=1), tiny.samples(20, seed=2), method="duck", retain_weight=0.0, epochs=2
    )
    step = task.step
    monkeypatch.setattr(
        task, "step", lambda optimizer, loss: (pulls.append(float(loss.detach())), step(optimizer, loss))
    )
    run(methods.get("duck"), task, arguments)
    assert len(pulls) == 20
    assert min(pulls) > 1e-6


@pytest.mark.parametrize("method", ["duck", "scar"])
def test_methods_with_centroids_are_refused_for_label_vectors_before_training(method: str) -> None:
    forget, retain = tiny.samples(4, multi_label=True), tiny.samples(8, multi_label=True)
    with pytest.raises(UserError, match="multi_label"):
        tiny.plain(method, tiny.net(), forget, retain)


@pytest.mark.parametrize("method", ["duck", "scar"])
def test_the_forget_images_move_the_result(method: str) -> None:
    model = tiny.net()
    one = tiny.plain(method, model, tiny.samples(4, seed=1), RETAIN, epochs=1)
    other = tiny.plain(method, model, tiny.samples(4, seed=7), RETAIN, epochs=1)
    assert tiny.distance(one, other) > 1e-8


def plain_shape(features: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
    x = tukey(features)
    n, d = x.shape
    mean = x.mean(0)
    covariance = sum(torch.outer(row - mean, row - mean) for row in x) / (n - 1)
    diagonal = sum(covariance[i, i] for i in range(d)) / d
    off = [covariance[i, j] for i in range(d) for j in range(d) if i != j and covariance[i, j] != 0]
    mean_off = sum(off) / len(off)
    shrunk = covariance.clone()
    for i in range(d):
        for j in range(d):
            shrunk[i, j] += shrinkage * (diagonal if i == j else mean_off)
    scaled = shrunk.clone()
    for i in range(d):
        for j in range(d):
            scaled[i, j] /= (shrunk[i, i] * shrunk[j, j]).sqrt()
    return mean / mean.norm(), torch.linalg.pinv(scaled)


def test_scar_moves_forget_features_by_mahalanobis_distance_and_distils_retain() -> None:
    model = tiny.net()
    forget = tiny.samples(4, seed=1, label=2)
    retain = [(x, int(y) % 2) for x, y in tiny.samples(8, seed=2)]
    student, teacher = copy.deepcopy(model), copy.deepcopy(model)
    sgd = tiny.PlainSGD(student.parameters(), 0.01)
    (x_f, _), (x_r, y_r) = tiny.stack(forget), tiny.stack(retain)
    h = teacher[:-1](x_r).detach()
    shapes = [plain_shape(h[y_r == c], 3.0) for c in (0, 1)]
    for _ in range(2):
        features = tukey(student[:-1](x_f))
        pulls = []
        for f in features:
            gaps = [(f / f.norm() - m, inverse) for m, inverse in shapes]
            pulls.append(torch.stack([gap @ inverse @ gap for gap, inverse in gaps]).min())
        u = teacher(x_r).detach()
        kept = u.argmax(1) != 2
        u[:, 2] = u.min()
        p, q = torch.softmax(u, 1), torch.softmax(student(x_r), 1)
        keep = (p * (p.log() - q.log())).sum(1)[kept].sum() / max(1, int(kept.sum()))
        sgd.step(5 * torch.stack(pulls).mean() + 5 * keep)
    tiny.assert_same(tiny.plain("scar", model, forget, retain, lr=0.01, epochs=2, batch_size=8), student, within=1e-8)


def test_scar_has_finite_gradients_at_dead_units() -> None:
    x = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(tukey(x).sum(), x)
    assert bool(torch.isfinite(gradient).all())


def test_scar_refuses_features_that_are_negative() -> None:
    with pytest.raises(UserError, match="non-negative"):
        class_shapes(torch.randn(6, 3).double(), torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1]), shrinkage=3.0)


def test_the_nearest_class_is_never_the_samples_own() -> None:
    distances = torch.tensor([[0.1, 0.5, 0.3], [0.9, 0.2, 0.4]])
    found = nearest(distances, torch.tensor([0, 5]), torch.tensor([0, 5, 9]))
    assert found.tolist() == pytest.approx([0.3, 0.4])


def test_class_means_are_over_the_retain_set_of_the_original() -> None:
    model = tiny.net(norm=True)
    task, _ = tiny.make_task(model, FORGET, RETAIN)
    with torch.no_grad():
        task.model[0].weight.add_(1)
    features, labels = original_features(task)
    x, y = tiny.stack(RETAIN)
    means = class_means(features, labels, task.retained_classes)
    for c in range(3):
        assert torch.allclose(means[c], model[:-1](x)[y == c].mean(0))
