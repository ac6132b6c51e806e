"""The supervised loop: its schedule against slow formulas, its seeds, and going on from a checkpoint."""

import copy
import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from raybench import models
from raybench.data.reading.batches import DatasetSplit
from raybench.engine.sharing import inverse_frequencies
from raybench.engine.training import Recipe, train
from raybench.errors import UserError

SCHEDULES = ("constant", "step", "cosine", "cosine_epoch", "one_cycle")


def fresh(seed=0):
    return models.build("cnn", num_classes=10, channels=1, seed=seed, width=4)


@pytest.fixture(scope="module")
def split(trained):
    return trained.scenario.split("retain")


def with_dropout(seed=0):
    model = fresh(seed)
    model.insert(len(model) - 1, nn.Dropout(0.3))
    return model


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))


# -- learning rate -----------------------------------------------------------------------------------------------------


def slow_factor(recipe, epoch):
    """The schedules as their sources state them, without shared code."""
    warmup, total = recipe.warmup_epochs, recipe.epochs
    if epoch < warmup:
        return recipe.warmup_start + (1 - recipe.warmup_start) * (epoch / warmup)
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "step":
        factor = 1.0
        for milestone in recipe.milestones:
            if round(epoch / (total if milestone < 1 else 1), 9) >= milestone:
                factor *= recipe.milestone_factor
        return factor
    if recipe.schedule == "cosine_epoch":
        epoch = max(warmup, int(epoch))
    progress = (epoch - warmup) / (total - warmup)
    if recipe.schedule in ("cosine", "cosine_epoch"):
        return 0.5 + 0.5 * math.cos(progress * math.pi)
    start, rise = 1 / 25, 0.3
    if progress < rise:  # half a cosine wave from start to 1
        return 1 + (start - 1) * 0.5 * (1 + math.cos(math.pi * progress / rise))
    return 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))


@pytest.mark.parametrize("schedule", SCHEDULES)
@settings(max_examples=40, deadline=None)
@given(
    epochs=st.integers(2, 50),
    warmup=st.sampled_from([0, 0.5, 1]),
    start=st.sampled_from([0, 0.01]),
    place=st.floats(0, 0.999),
)
def test_the_learning_rate_follows_the_published_formulas(schedule, epochs, warmup, start, place):
    recipe = Recipe(lr=1.0, schedule=schedule, epochs=epochs, warmup_epochs=warmup, warmup_start=start)
    epoch = place * epochs
    assert recipe.learning_rate(epoch) == pytest.approx(slow_factor(recipe, epoch), abs=1e-12)


@pytest.mark.parametrize(
    ("recipe", "points"),
    [
        (Recipe(schedule="cosine", epochs=10), {0: 1, 5: 0.5, 10: 0}),
        (Recipe(schedule="cosine", epochs=10, warmup_epochs=2), {0: 0, 1: 0.5, 2: 1, 6: 0.5, 10: 0}),
        (Recipe(schedule="one_cycle", epochs=10), {0: 0.04, 1.5: 0.52, 3: 1, 6.5: 0.5, 10: 0}),
        (Recipe(schedule="step", epochs=10), {0: 1, 4.999: 1, 5: 0.1, 7.499: 0.1, 7.5: 0.01, 9.9: 0.01}),
        (Recipe(schedule="step", epochs=3, milestones=[0.5], milestone_factor=0.2), {1: 1, 1.5: 0.2, 2: 0.2}),
        (Recipe(schedule="step", epochs=10, milestones=(5, 7.0)), {4.999: 1, 5: 0.1, 6.999: 0.1, 7: 0.01}),
        (Recipe(schedule="step", epochs=100, milestones=(0.55, 0.57, 80)), {54.9: 1, 55: 0.1, 57: 0.01, 80: 0.001}),
        (Recipe(schedule="cosine_epoch", epochs=4, warmup_epochs=1), {1: 1, 1.9: 1, 2: 0.75, 2.9: 0.75, 3: 0.25}),
        (Recipe(schedule="constant", epochs=4, warmup_epochs=4), {0: 0, 2: 0.5, 3.9: 0.975}),
        (Recipe(schedule="cosine", epochs=12, warmup_epochs=2, warmup_start=0.01), {0: 0.01, 1: 0.505, 2: 1, 7: 0.5}),
    ],
)
def test_the_learning_rate_at_the_points_that_matter(recipe, points):
    assert {epoch: recipe.learning_rate(epoch) / recipe.lr for epoch in points} == pytest.approx(points, abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_schedule_leaves_the_range_from_zero_to_the_base_rate(schedule):
    recipe = Recipe(lr=1.0, schedule=schedule, epochs=7, warmup_epochs=1)
    factors = [recipe.learning_rate(epoch) for epoch in np.linspace(0, 8, 400)]
    assert min(factors) >= 0
    assert max(factors) == pytest.approx(1, abs=1e-3)


def test_every_step_gets_its_own_learning_rate(split):
    seen = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(10))

        def forward(self, x):
            return self.weight.expand(len(x), 10)

    model = Watch()
    recipe = Recipe(epochs=2, batch_size=40, lr=1.0, momentum=0, weight_decay=0, schedule="cosine", warmup_epochs=1)

    def note(progress):
        seen.append(progress.lr)

    train(model, split, recipe, seed=0, on_epoch=note)
    assert len(split) == 160  # 4 steps an epoch
    assert seen == pytest.approx([0.75, slow_factor(recipe, 1.75)])


# -- repeatability -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(epochs=3, batch_size=32, schedule="cosine"),
        Recipe(epochs=3, batch_size=48, optimizer="adamw", lr=0.01, schedule="one_cycle", label_smoothing=0.1),
        Recipe(epochs=3, batch_size=160, nesterov=True, schedule="step", clip_norm=0.5, channels_last=True),
        Recipe(epochs=3, batch_size=16, accumulate=4, optimizer="adam", lr=0.001, class_weights="inverse"),
    ],
    ids=["sgd", "adamw", "nesterov", "adam"],
)
@pytest.mark.parametrize("ema", [None, 0.9])
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_going_on_from_a_checkpoint_ends_in_the_same_weights_bit_for_bit(trained, recipe, ema, data):
    """Killed after any step that saves: weights, losses and learning rates are those of an undisturbed run."""
    split = trained.scenario.samples(trained.scenario.splits().ids("retain"), augment=True)
    recipe = recipe.model_copy(update={"ema": ema})

    def run(model, checkpoint, save):
        curve = []
        train(
            model,
            split,
            recipe,
            seed=4,
            checkpoint=checkpoint,
            on_epoch=lambda progress: curve.append((progress.epoch, progress.loss, progress.lr)),
            save=save,
            save_seconds=0,
        )
        return curve

    whole, saved = with_dropout(), []
    curve = run(whole, None, lambda state: saved.append(copy.deepcopy({**state, "model": whole.state_dict()})))
    last = data.draw(st.integers(0, len(saved) - 1))
    buffer = io.BytesIO()
    torch.save(saved[last], buffer)
    buffer.seek(0)
    checkpoint = torch.load(buffer, weights_only=True)
    resumed, done = with_dropout(seed=9), checkpoint["epoch"] + 1
    resumed.load_state_dict(checkpoint["model"])
    torch.rand(3)  # another process has another random state
    assert run(resumed, checkpoint, None) == curve[done:]
    assert same(whole, resumed)


def test_a_checkpoint_is_due_after_each_epoch_and_when_the_last_one_is_old(split):
    """Only between optimizer steps, and never at once after the last batch of an epoch."""
    for seconds, expected in ((0, [4, 8, None, 4, 8, None]), (math.inf, [None, None])):
        saved = []
        train(
            fresh(),
            split,
            Recipe(epochs=2, batch_size=16, accumulate=4),  # 10 batches
            seed=0,
            save=lambda state, saved=saved: saved.append(state.get("partial", {}).get("steps")),
            save_seconds=seconds,
        )
        assert saved == expected


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(split):
    results = []
    for seed in (1, 1, 2):
        model = fresh()
        train(model, split, Recipe(epochs=1, batch_size=32), seed=seed)
        results.append(model)
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_dropout_draws_from_the_seed_and_the_epoch_too(split):
    def trained_with_dropout():
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.5))
        nn.init.zeros_(model[1].weight)
        nn.init.zeros_(model[1].bias)
        train(model, split, Recipe(epochs=2, batch_size=32), seed=3)
        return model

    assert same(trained_with_dropout(), trained_with_dropout())


def test_training_teaches(split):
    model, losses = fresh(), []
    train(model, split, Recipe(epochs=6, batch_size=32), seed=0, on_epoch=lambda progress: losses.append(progress.loss))
    assert losses[-1] < 0.7 * losses[0]


# -- one step ----------------------------------------------------------------------------------------------------------


class Pairs(torch.utils.data.Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


PLAIN = {"epochs": 1, "batch_size": 8, "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}


def one_step(y, classes, **changes):
    """Return the weights after one step of the loop, and the inputs and weights before it."""
    torch.manual_seed(0)
    x, model = torch.randn(8, 5), nn.Linear(5, classes)
    before = copy.deepcopy(model)
    train(model, DatasetSplit(Pairs(x, y)), Recipe(**{**PLAIN, **changes}), seed=0)
    return x, before, model


def stepped(before, loss, lr=0.5):
    gradient = torch.autograd.grad(loss, before.weight)[0]
    return before.weight - lr * gradient


def test_label_smoothing_of_a_multi_label_task_pulls_every_label_to_one_half():
    y = (torch.arange(24).reshape(8, 3) % 2).float()
    x, before, model = one_step(y, 3, label_smoothing=0.2)
    probabilities = torch.sigmoid(before(x))
    target = torch.where(y == 1, torch.tensor(0.9), torch.tensor(0.1))
    loss = -(target * probabilities.log() + (1 - target) * (1 - probabilities).log()).mean()
    assert torch.allclose(model.weight, stepped(before, loss), atol=1e-6)


def test_label_smoothing_of_a_single_label_task_spreads_over_all_classes():
    y = torch.arange(8) % 3
    x, before, model = one_step(y, 3, label_smoothing=0.3)
    target = F.one_hot(y, 3) * 0.7 + 0.1
    loss = -(target * F.log_softmax(before(x), dim=1)).sum(dim=1).mean()
    assert torch.allclose(model.weight, stepped(before, loss), atol=1e-6)


def test_rare_classes_weigh_as_much_as_common_ones_where_weights_are_inverse():
    y = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    x, before, model = one_step(y, 4, class_weights="inverse")  # nobody is of class 3
    own = -F.log_softmax(before(x), dim=1)[torch.arange(8), y]
    loss = torch.stack([own[y == label].mean() for label in range(3)]).mean()
    assert torch.allclose(model.weight, stepped(before, loss), atol=1e-6)


def test_class_weights_are_n_over_the_count_and_zero_for_a_class_that_is_not_there():
    labels = torch.tensor([0, 0, 0, 1])
    assert inverse_frequencies(labels, 3).tolist() == pytest.approx([4 / 3, 4, 0])
    with pytest.raises(UserError, match="one class per sample"):
        one_step(torch.zeros(8, 3), 3, class_weights="inverse")


def test_class_weights_and_label_smoothing_together_train_where_a_class_is_missing():
    y = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    _, before, model = one_step(y, 4, class_weights="inverse", label_smoothing=0.1)
    assert torch.isfinite(model.weight).all()
    assert not torch.equal(model.weight, before.weight)


@pytest.mark.parametrize(("batch", "accumulate"), [(4, 2), (2, 4), (1, 8), (2, 16)])
def test_batches_that_are_gathered_make_the_step_of_one_large_batch(batch, accumulate):
    y = torch.arange(8) % 3
    _, _, whole = one_step(y, 3)
    _, _, gathered = one_step(y, 3, batch_size=batch, accumulate=accumulate)
    assert torch.allclose(whole.weight, gathered.weight, atol=1e-6)


def test_an_epochs_last_batches_make_a_step_of_their_own_mean():
    y, steps = torch.arange(8) % 3, []
    torch.manual_seed(0)
    x, model = torch.randn(8, 5), nn.Linear(5, 3)
    recipe = Recipe(**{**PLAIN, "batch_size": 2, "accumulate": 3, "clip_norm": 1e-3})

    def note(progress):
        steps.append(int(progress.optimizer.state_dict()["state"].get(0, {}).get("step", 0)))

    before = copy.deepcopy(model)
    train(model, DatasetSplit(Pairs(x, y)), recipe, seed=0, on_epoch=note)
    assert recipe.num_steps(8) == 2
    moved = torch.cat([(a - b).flatten() for a, b in zip(model.parameters(), before.parameters())])
    assert 0.5e-3 < float(moved.detach().norm()) <= 2 * 0.5e-3 + 1e-7  # two clipped steps
    adam = copy.deepcopy(before)
    train(adam, DatasetSplit(Pairs(x, y)), recipe.model_copy(update={"optimizer": "adam"}), seed=0, on_epoch=note)
    assert steps[-1] == 2


@pytest.mark.parametrize(("samples", "batch", "accumulate"), [(160, 32, 1), (161, 32, 1), (160, 32, 4), (33, 32, 8)])
def test_the_number_of_steps_is_that_of_the_groups_of_batches(samples, batch, accumulate):
    batches = [range(samples)[start : start + batch] for start in range(0, samples, batch)]
    groups = [batches[start : start + accumulate] for start in range(0, len(batches), accumulate)]
    assert Recipe(batch_size=batch, accumulate=accumulate).num_steps(samples) == len(groups)


def test_adam_decays_weights_through_the_gradient_and_adamw_apart_from_it():
    y = torch.arange(8) % 3
    settings = {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}
    _, before, adam = one_step(y, 3, optimizer="adam", **settings)
    _, _, adamw = one_step(y, 3, optimizer="adamw", **settings)
    reference = copy.deepcopy(before)
    torch.manual_seed(0)
    x = torch.randn(8, 5)
    optimizer = torch.optim.Adam(reference.parameters(), 0.01, weight_decay=0.1)
    F.cross_entropy(reference(x), y).backward()
    optimizer.step()
    assert torch.allclose(adam.weight, reference.weight, atol=1e-6)
    assert not torch.allclose(adam.weight, adamw.weight, atol=1e-5)


def test_clipping_bounds_the_norm_of_the_step():
    y = torch.arange(8) % 3
    _, before, model = one_step(y, 3, clip_norm=0.01)
    moved = torch.cat([(a - b).flatten() for a, b in zip(model.parameters(), before.parameters())])
    assert float(moved.norm()) == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_bf16_training_runs_in_mixed_precision_and_keeps_weights_and_loss_in_fp32(split):
    model, dtypes = fresh(), set()
    model[0].register_forward_hook(lambda _module, _inputs, output: dtypes.add(output.dtype))
    train(model, split, Recipe(epochs=2, batch_size=32, precision="bf16"), seed=0)
    assert dtypes == {torch.bfloat16}
    assert all(value.dtype == torch.float32 for value in model.parameters())
    assert all(torch.isfinite(value).all() for value in model.parameters())
