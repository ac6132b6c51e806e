import architectures
import pytest
import tiny
import torch
import torch.nn.functional as F

from raybench.engine.losses import log_likelihood, supervised_rows
from raybench.methods.building_blocks import importance
from raybench.methods.building_blocks.importance import expected_fisher, mean_gradient, squared_gradients
from raybench.methods.framework.task import UnlearningTask

FORGET, RETAIN = tiny.samples(6, seed=1), tiny.samples(9, seed=2)


def task_on(norm: bool = True) -> UnlearningTask:
    return tiny.make_task(tiny.net(norm=norm), FORGET, RETAIN, shuffle=False)[0]


def gradient(model: torch.nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters()), retain_graph=True))


def test_the_mean_gradient_weighs_samples_alike_whatever_their_batch() -> None:
    task = task_on()
    model = tiny.net(norm=True)
    x, y = tiny.stack(FORGET)
    for ours, slow in zip(mean_gradient(task, task.forget()).values(), gradient(model, F.cross_entropy(model(x), y))):
        assert torch.allclose(ours, slow, atol=1e-12)


def test_squared_gradients_are_of_single_samples_or_of_batches() -> None:
    task, model = task_on(), tiny.net(norm=True)
    for per, size in (("sample", 1), ("batch", 4)):
        parts = [gradient(model, F.cross_entropy(model(x), y)) for x, y in tiny.batches(FORGET, size)]
        slow = [torch.stack([part[i] ** 2 for part in parts]).mean(0) for i in range(len(parts[0]))]
        found = squared_gradients(task, task.forget(), per=per)  # type: ignore[arg-type]
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found.values(), slow))


def test_the_expected_fisher_weighs_each_class_by_its_probability() -> None:
    task, model = task_on(), tiny.net(norm=True)
    slow = [torch.zeros_like(p) for p in model.parameters()]
    for x, _ in tiny.batches(FORGET, 1):
        logits = model(x)
        for k in range(3):
            g = gradient(model, F.cross_entropy(logits, torch.tensor([k])))
            slow = [s + logits.softmax(1)[0, k].detach() * part**2 / 6 for s, part in zip(slow, g)]
    found = expected_fisher(task, task.forget())
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found.values(), slow))


def test_the_expected_fisher_of_a_batch_squares_the_batchs_gradient() -> None:
    task, model = task_on(), tiny.net(norm=True)
    slow = [torch.zeros_like(p) for p in model.parameters()]
    for x, _ in tiny.batches(FORGET, 4):
        logits = model(x)
        for k in range(3):
            g = gradient(model, F.cross_entropy(logits, torch.full((len(x),), k)))
            slow = [s + logits.softmax(1)[:, k].detach().mean() * part**2 / 2 for s, part in zip(slow, g)]
    found = expected_fisher(task, task.forget(), per="batch")
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found.values(), slow))


def test_importance_is_of_the_model_in_eval_mode_and_leaves_it_in_train_mode() -> None:
    task = task_on()
    squared_gradients(task, task.retain())
    assert task.model.training
    assert tiny.distance(task.model, tiny.net(norm=True)) == 0


@pytest.mark.parametrize("rows", [supervised_rows, log_likelihood])
def test_vectorized_squares_equal_those_of_one_sample_after_another(rows: importance.Rows) -> None:
    task = task_on()
    x, y = tiny.stack(FORGET)
    slow = {name: torch.zeros_like(p) for name, p in task.parameters.items()}
    fast = {name: torch.zeros_like(p) for name, p in task.parameters.items()}
    with task.eval_mode():
        importance._add_one_by_one(task, slow, x, y, rows, 2)
        counted = task.ledger.as_dict()
        importance._add_vectorized(task, fast, x, y, rows, 2)
    assert all(torch.allclose(slow[name], fast[name], atol=1e-12) for name in slow)
    assert task.ledger.samples_forward == 2 * counted["samples_forward"]
    assert task.ledger.samples_backward == 2 * counted["samples_backward"]


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", architectures.NAMES)
def test_vectorized_squares_work_on_every_architecture(name: str) -> None:
    model = architectures.small(name)
    data = [(torch.randn(3, 32, 32).double(), i) for i in range(2)]
    task, _ = tiny.make_task(model.double().eval(), data, data)
    x, y = tiny.stack(data)
    slow = {key: torch.zeros_like(p) for key, p in task.parameters.items()}
    fast = {key: torch.zeros_like(p) for key, p in task.parameters.items()}
    with task.eval_mode():
        importance._add_one_by_one(task, slow, x, y, supervised_rows, 2)
        importance._add_vectorized(task, fast, x, y, supervised_rows, 2)
    assert all(torch.allclose(slow[key], fast[key], atol=1e-10) for key in slow)
