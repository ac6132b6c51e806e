import copy

import pytest
import tiny
import torch
from torch import Tensor

from raybench import models

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(4, seed=2)


def kl_rows(student: Tensor, teacher: Tensor) -> Tensor:
    p, q = torch.softmax(teacher, 1), torch.softmax(student, 1)
    return p * (p.log() - q.log())


@pytest.mark.parametrize("released", [True, False])
def test_forget_rows_learn_from_a_random_network_and_retain_rows_from_the_original(released: bool) -> None:
    model = tiny.net(norm=True)
    bad, student = copy.deepcopy(model), copy.deepcopy(model).train()
    models.reset(bad, seed=0)
    (x_f, _), (x_r, _) = tiny.stack(FORGET), tiny.stack(RETAIN)
    teacher = torch.cat([model(x_r), bad(x_f)]).detach()
    adam = torch.optim.Adam(student.parameters(), 1e-4)
    for epoch in range(2):
        student.train(not (released and epoch))
        terms = kl_rows(student(torch.cat([x_r, x_f])), teacher)
        adam.zero_grad()
        (terms.mean() if released else terms.sum(1).mean()).backward()
        adam.step()
    options = {"preset": "conformal"} if released else {"optimizer": "adam", "weight_decay": 0.0, "lr": 1e-4}
    result = tiny.plain("bad_teacher", model, FORGET, RETAIN, epochs=2, batch_size=64, retain_ratio=1.0, **options)
    tiny.assert_same(result, student)


def test_the_element_mean_is_k_times_smaller_than_the_batch_mean() -> None:
    terms = kl_rows(torch.randn(5, 7).double(), torch.randn(5, 7).double())
    assert float(terms.sum(1).mean() / terms.mean()) == pytest.approx(7)


def test_the_retain_sample_is_as_large_as_the_forget_set() -> None:
    ledger = tiny.outcome(
        "bad_teacher", tiny.net(), FORGET, tiny.samples(30, seed=2), epochs=1, retain_ratio=1.0
    ).ledger
    assert ledger.samples_backward == 8
