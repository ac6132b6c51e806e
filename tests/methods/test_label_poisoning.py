import copy

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raybench.methods.building_blocks.relabeling import random_labels

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


class Nesterov:
    """SGD with Nesterov's momentum 0.9 and weight decay 5e-4, written out."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = list(model.parameters())
        self.velocity: list[Tensor] | None = None

    def step(self, loss: Tensor, lr: float) -> None:
        gradients = torch.autograd.grad(loss, self.parameters)
        gradients = [g + 5e-4 * p.detach() for g, p in zip(gradients, self.parameters)]
        if self.velocity is None:
            self.velocity = [g.clone() for g in gradients]
        else:
            self.velocity = [0.9 * v + g for v, g in zip(self.velocity, gradients)]
        with torch.no_grad():
            for p, g, v in zip(self.parameters, gradients, self.velocity):
                p -= lr * (g + 0.9 * v)


def poison() -> Tensor:
    task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN)
    return random_labels(task, exclude_true=False)


def test_poisoning_the_forget_set_is_an_epoch_on_labels_drawn_once() -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train()
    sgd, labels = Nesterov(student), poison()
    x, _ = tiny.stack(FORGET)
    for _ in range(3):
        sgd.step(F.cross_entropy(student(x), labels), 7e-4)
    tiny.assert_same(tiny.plain("label_poisoning", model, FORGET, RETAIN, preset="eth", epochs=3), student)


def test_full_poisoning_passes_retain_and_then_forget_in_mixed_batches_under_a_cosine() -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train()
    sgd, labels = Nesterov(student), poison()
    (x_f, _), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    x, y = torch.cat([x_r, x_f]), torch.cat([y_r, labels])
    for epoch in range(5):
        lr = 0.002 * (1 + torch.cos(torch.tensor(torch.pi * epoch / 5, dtype=torch.float64)).item()) / 2
        for i in range(0, 12, 5):  # the second batch is mixed, the last one poisoned only
            sgd.step(F.cross_entropy(student(x[i : i + 5]), y[i : i + 5]), lr)
    result = tiny.plain("label_poisoning", model, FORGET, RETAIN, preset="eth_full", batch_size=5)
    tiny.assert_same(result, student)


def test_two_stages_poison_and_then_repair_with_a_new_optimizer() -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train()
    (x_f, _), (x_r, y_r) = tiny.stack(FORGET), tiny.stack(RETAIN)
    Nesterov(student).step(F.cross_entropy(student(x_f), poison()), 0.01)
    sgd = Nesterov(student)
    for _ in range(2):
        sgd.step(F.cross_entropy(student(x_r), y_r), 0.001)
    result = tiny.plain("two_stage", model, FORGET, RETAIN, preset="eth", epochs=2, batch_size=8)
    tiny.assert_same(result, student)


@pytest.mark.parametrize("method", ["label_poisoning", "two_stage"])
def test_label_vectors_are_poisoned_bit_by_bit(method: str) -> None:
    forget, retain = tiny.samples(4, multi_label=True), tiny.samples(8, multi_label=True)
    model = tiny.net()
    assert tiny.distance(tiny.plain(method, model, forget, retain, epochs=1), model) > 0
