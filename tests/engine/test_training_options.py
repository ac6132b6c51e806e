"""Options of a training: averaged weights, compilation, and the time it waits for data."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from raybench import models
from raybench.data.reading.batches import ResidentSplit
from raybench.engine import compilation, data_wait
from raybench.engine.compilation import compiled
from raybench.engine.data_wait import DataWait
from raybench.engine.synchronized import SynchronizedBatchNorm, synchronize
from raybench.engine.training import Recipe, train
from raybench.errors import UserError


def fresh(seed=0):
    return models.build("cnn", num_classes=10, channels=1, seed=seed, width=4)


@pytest.fixture(scope="module")
def split(trained):
    return trained.scenario.split("retain")


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values()))


# -- averaged weights --------------------------------------------------------------------------------------------------


def slow_average(weights, decay):
    """The average as its description states it, over the weights at the start and after every step."""
    average = {name: value.double() for name, value in weights[0].items()}
    for step, current in enumerate(weights[1:], 1):
        rate = 1 - min(decay, (1 + step) / (10 + step))
        for name, value in current.items():
            average[name] = average[name] + rate * (value.double() - average[name])
    return average


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_trained_model_is_the_average_over_the_steps(split, decay):
    model, evaluated = fresh(), []
    steps = [copy.deepcopy(model.state_dict())]
    train(
        model,
        split,
        Recipe(epochs=2, batch_size=32, ema=decay),
        seed=0,
        on_epoch=lambda _: evaluated.append(copy.deepcopy(model.state_dict())),
        save=lambda _: steps.append(copy.deepcopy(model.state_dict())),
        save_seconds=0,
    )
    plain = fresh()
    train(plain, split, Recipe(epochs=2, batch_size=32), seed=0)
    assert same(plain.state_dict(), steps[-1])  # checkpoints hold the weights that the optimizer changes
    assert len(steps) == 1 + 2 * 5
    for seen, number in ((evaluated[0], 6), (evaluated[1], 11), (model.state_dict(), 11)):
        expected = slow_average(steps[:number], decay)
        for name, value in seen.items():
            if value.is_floating_point():
                assert torch.allclose(value.double(), expected[name], atol=1e-6), name
            else:
                assert torch.equal(value, steps[number - 1][name]), name


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5])
def test_a_decay_outside_zero_and_one_is_refused(decay):
    with pytest.raises(ValueError, match="ema"):
        Recipe(ema=decay)


# -- compilation -------------------------------------------------------------------------------------------------------


def test_a_compiled_training_changes_the_weights_of_the_model_under_their_names(split, monkeypatch):
    monkeypatch.setattr(compilation, "BACKEND", "eager")  # traces the model and runs it as it is
    model, plain = fresh(), fresh()
    names = list(model.state_dict())
    train(compiled(model, torch.device("cpu")), split, Recipe(epochs=2, batch_size=48), seed=0)
    train(plain, split, Recipe(epochs=2, batch_size=48), seed=0)
    assert list(model.state_dict()) == names
    assert same(model.state_dict(), plain.state_dict())


@pytest.mark.slow
def test_compiled_kernels_train_the_same_model_and_resume_to_the_same_weights(split):
    recipe, saved = Recipe(epochs=2, batch_size=40), []

    def run(model, wrap=lambda model: compiled(model, torch.device("cpu")), **options):
        train(wrap(model), split, recipe, seed=0, **options)
        return model

    def small(seed=0):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    whole = small()
    run(whole, save=lambda state: saved.append(copy.deepcopy({**state, "model": whole.state_dict()})), save_seconds=0)
    for name, value in run(small(), wrap=lambda model: model).state_dict().items():
        assert torch.allclose(whole.state_dict()[name], value, atol=1e-5), name
    resumed = small(9)
    resumed.load_state_dict(saved[1]["model"])
    assert same(run(resumed, checkpoint=saved[1]).state_dict(), whole.state_dict())


@pytest.mark.parametrize(("device", "variable"), [("cpu", "CXX"), ("cuda", "CC")])
def test_a_worker_without_a_compiler_says_so_in_one_sentence(monkeypatch, device, variable):
    monkeypatch.setenv(variable, "no-such-compiler")
    with pytest.raises(UserError, match=f"train.compile: .*no-such-compiler.* is not on the PATH.*set {variable}"):
        compiled(nn.Linear(2, 2), torch.device(device))


# -- synchronized BatchNorm --------------------------------------------------------------------------------------------


def test_synchronized_layers_keep_names_weights_and_what_they_predict(split):
    model = fresh()
    train(model, split, Recipe(epochs=1, batch_size=32), seed=0)
    model.eval()
    changed = synchronize(copy.deepcopy(model))
    assert any(isinstance(layer, SynchronizedBatchNorm) for layer in changed.modules())
    assert list(changed.state_dict()) == list(model.state_dict())
    assert same(changed.state_dict(), model.state_dict())
    x, _ = split.batch(torch.arange(8), generator=None)
    assert torch.equal(changed(x), model(x))
    fresh().load_state_dict(changed.state_dict())


# -- waiting for data --------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


def waits(monkeypatch, loading, step, *, busy=None):
    """Run 4 steps; return the fraction of the time that the loop waited."""
    clock = Clock()
    monkeypatch.setattr(data_wait, "time", clock)

    def batches():
        for number in range(4):
            clock.now += loading
            yield number

    wait = DataWait(torch.device("cpu"))
    if busy is not None:
        wait._queue = SimpleNamespace(query=lambda: not busy, record=lambda: None)
    for _ in wait.over(batches()):
        clock.now += step
    assert wait.seconds == 4 * (loading + step)
    return wait.fraction


def test_the_wait_for_data_is_a_fraction_of_the_epoch(monkeypatch):
    assert waits(monkeypatch, 3.0, 1.0) == 0.75
    assert waits(monkeypatch, 0.0, 1.0) == 0
    assert waits(monkeypatch, 0.0, 0.0) == 0


def test_a_wait_counts_only_when_the_accelerator_has_nothing_left_to_do(monkeypatch):
    assert waits(monkeypatch, 3.0, 1.0, busy=False) == 0.75
    assert waits(monkeypatch, 3.0, 1.0, busy=True) == 0


def test_every_epoch_reports_its_wait(split):
    fractions = []
    train(
        fresh(),
        split,
        Recipe(epochs=2, batch_size=32),
        seed=0,
        on_epoch=lambda progress: fractions.append(progress.data_wait),
        save_seconds=math.inf,
    )
    assert len(fractions) == 2
    assert all(0 < fraction < 1 for fraction in fractions)


# -- on a GPU ----------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_training_on_a_gpu_resumes_within_an_epoch_and_measures_its_wait(trained):
    def build():
        model = fresh()
        model.insert(len(model) - 1, nn.Dropout(0.3))
        return model.cuda()

    split = ResidentSplit(trained.scenario.data(), trained.scenario.splits().ids("retain"), device="cuda")
    recipe, saved, fractions = Recipe(epochs=2, batch_size=32, ema=0.9), [], []
    whole, resumed = build(), build()
    train(
        whole,
        split,
        recipe,
        seed=0,
        on_epoch=lambda progress: fractions.append(progress.data_wait),
        save=lambda state: saved.append(copy.deepcopy({**state, "model": whole.state_dict()})),
        save_seconds=0,
    )
    resumed.load_state_dict(saved[7]["model"])
    train(resumed, split, recipe, seed=0, checkpoint=saved[7])
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, resumed.state_dict()[name], atol=1e-5), name
    assert all(0 <= fraction <= 1 for fraction in fractions)
