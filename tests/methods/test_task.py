import numpy as np
import pytest
import tiny
import torch
from pydantic import ValidationError

from raybench.data.images import ImageData
from raybench.data.reading.batches import ResidentSplit
from raybench.engine.optimization import OptimizerSettings
from raybench.engine.training import Recipe
from raybench.errors import UserError
from raybench.methods.framework.spec import Settings
from raybench.methods.framework.task import UnlearningTask

FORGET, RETAIN = tiny.samples(5, seed=1), tiny.samples(11, seed=2)


def rates(schedule: str, *, epochs: int = 4, **options: object) -> list[float]:
    task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN, schedule=schedule, **options)
    optimizer = task.optimizer(1.0)
    seen = []
    for _ in task.epochs(epochs, steps=2):
        for _ in range(2):
            seen.append(optimizer.param_groups[0]["lr"])
            task.step(optimizer, task.loss(task.model(torch.zeros(1, 1, 6, 6).double()), torch.tensor([0])))
    return seen


def test_the_rate_follows_the_schedule() -> None:
    assert rates("constant") == [1.0] * 8
    for milestones in ((1, 3), (0.25, 0.75), (0.25, 3)):
        assert rates("step", milestones=milestones) == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert rates("step", milestones=(0.375,)) == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1])
    cosine = [(1 + np.cos(np.pi * i / 4)) / 2 for i in range(4)]
    assert rates("cosine_epoch") == pytest.approx(np.repeat(cosine, 2).tolist())
    assert rates("cosine") == pytest.approx([(1 + np.cos(np.pi * i / 8)) / 2 for i in range(8)])


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "cosine_epoch", "one_cycle"])
@pytest.mark.parametrize("milestones", [(1, 3), (0.3, 0.8), (0.5, 3)])
def test_a_schedule_means_the_same_in_a_method_and_in_a_training(schedule: str, milestones: tuple[float, ...]) -> None:
    recipe = Recipe(lr=1.0, epochs=4, schedule=schedule, milestones=milestones)
    trained = [recipe.learning_rate(epoch + step / 2) for epoch in range(4) for step in range(2)]
    assert rates(schedule, milestones=milestones) == pytest.approx(trained, abs=1e-12)


@pytest.mark.parametrize("schedule", [{"schedule": "cosine"}, {"schedule": "step", "milestones": (0.5,)}])
def test_a_schedule_per_step_needs_the_number_of_steps(schedule: dict[str, object]) -> None:
    task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN, **schedule)
    with pytest.raises(UserError, match=f"'{schedule['schedule']}' needs .*steps="):
        next(task.epochs(2))


@pytest.mark.parametrize("settings", [Recipe, Settings])
def test_every_setting_has_a_description(settings: type[OptimizerSettings]) -> None:
    assert [name for name, field in settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("settings", [Recipe, Settings])
def test_a_milestone_is_a_whole_number_or_a_fraction(settings: type[OptimizerSettings]) -> None:
    assert settings.model_validate({"milestones": [0.5, 7, 9.0]}).milestones == (0.5, 7, 9)
    for wrong in (-1, 1.5, -0.5):
        with pytest.raises(ValidationError):
            settings.model_validate({"milestones": [wrong]})


@pytest.mark.parametrize(("mode", "moves"), [("train", [1, 1]), ("frozen", [0, 0]), ("train_then_frozen", [1, 0])])
def test_running_statistics_follow_the_batch_norm_mode_after_an_evaluation_too(mode: str, moves: list[int]) -> None:
    task, _ = tiny.make_task(
        tiny.net(norm=True),
        FORGET,
        RETAIN,
        bn_mode=mode,
        schedule="constant",
        on_epoch=lambda task, _: task.model.eval() and None,
    )
    seen = []
    for _ in task.epochs(2):
        before = task.model[1].running_mean.clone()
        task.model(torch.randn(4, 1, 6, 6).double())
        seen.append(int(not torch.equal(before, task.model[1].running_mean)))
    assert seen == moves


def test_a_mixed_pass_holds_every_sample_once_and_says_which_rows_are_retain() -> None:
    task, _ = tiny.make_task(tiny.net(), [(x, 2) for x, _ in FORGET], [(x, 0) for x, _ in RETAIN])
    retain, forget = [], []
    for _, y, kept in task.mixed():
        retain += y[:kept].tolist()
        forget += y[kept:].tolist()
    assert retain == [0] * 11
    assert forget == [2] * 5


def test_labels_replace_the_true_ones_by_position() -> None:
    task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN)
    new = torch.arange(5) + 10
    for batch in task.forget(labels=new):
        assert batch[1].tolist() == (batch.positions + 10).tolist()


def test_passes_differ_from_each_other_and_repeat_for_a_seed() -> None:
    def orders(seed: int) -> list[list[int]]:
        task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN, seed=seed, batch_size=11)
        return [next(iter(task.retain())).positions.tolist() for _ in range(3)]

    assert orders(0) == orders(0) != orders(1)
    assert orders(0)[0] != orders(0)[1]


def resident(n: int, augment: tuple[str, ...] = ()) -> ResidentSplit:
    images = np.random.default_rng(0).integers(0, 255, (n, 6, 6, 1), dtype=np.uint8)
    data = ImageData(
        images=images,
        labels=np.arange(n) % 3,
        part=np.zeros(n, dtype=np.uint8),
        class_names=("a", "b", "c"),
        mean=(0.5,),
        std=(0.25,),
    )
    return ResidentSplit(data, np.arange(n), augment=augment)


def with_resident(augment: tuple[str, ...]) -> UnlearningTask:
    model = tiny.net(dtype=torch.float32)
    return UnlearningTask(model, forget=resident(6, augment), retain=resident(9, augment), fresh=lambda _: model)


def test_a_teachers_logits_are_computed_once_where_inputs_never_change() -> None:
    task = with_resident(())
    first = torch.cat([task.teacher(batch) for batch in task.retain()])
    counted = task.ledger.samples_forward
    for batch in task.retain():
        assert torch.equal(task.teacher(batch), task.frozen_original()(batch[0]))
    assert task.ledger.samples_forward == counted + 9  # the comparison's own passes
    assert len(first) == 9
    assert not first.requires_grad


def test_a_teacher_sees_augmented_inputs_anew() -> None:
    task = with_resident(("flip",))
    for _ in range(2):
        for batch in task.retain():
            task.teacher(batch)
    assert task.ledger.samples_forward == 18


def test_copies_start_from_the_model_as_it_is_and_are_counted() -> None:
    task, _ = tiny.make_task(tiny.net(), FORGET, RETAIN)
    with torch.no_grad():
        task.model[0].weight.add_(1)
    copied = task.copy_of_model()
    assert tiny.distance(copied, task.model) == 0
    copied(torch.zeros(3, 1, 6, 6).double())
    assert task.ledger.samples_forward == 3
