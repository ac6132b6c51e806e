import copy

import pytest
import tiny
import torch
import torch.nn.functional as F

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


def test_gradient_ascent_is_sgd_on_the_negated_forget_loss() -> None:
    forget = tiny.samples(8, seed=1)
    model = tiny.net()
    expected = copy.deepcopy(model)
    sgd = tiny.PlainSGD(expected.parameters(), lr=0.05)
    for x, y in tiny.batches(forget, 4):
        sgd.step(-F.cross_entropy(expected(x), y))
    tiny.assert_same(tiny.plain("gradient_ascent", model, forget, RETAIN, lr=0.05, epochs=1), expected)


def test_gradient_ascent_raises_the_forget_loss() -> None:
    model = tiny.net()
    result = tiny.plain("gradient_ascent", model, FORGET, RETAIN, lr=0.1, epochs=3)
    x, y = tiny.stack(FORGET)
    assert F.cross_entropy(result(x), y) > F.cross_entropy(model(x), y)


def test_the_mufac_preset_takes_a_step_for_each_retain_batch_and_skips_incomplete_forget_batches() -> None:
    forget, retain = tiny.samples(6, seed=1), tiny.samples(20, seed=2)
    steps = tiny.outcome(
        "gradient_ascent", tiny.net(), forget, retain, preset="mufac", batch_size=4, epochs=2
    ).ledger.steps
    # 10 retain batches in two epochs; of the cycled forget batches (4, 2, 4, 2, ...) every second is left out
    assert steps == 5


def test_the_cycled_forget_set_goes_on_where_the_epoch_before_stopped() -> None:
    forget, retain = tiny.samples(12, seed=1), tiny.samples(8, seed=2)
    model = tiny.net()
    expected = copy.deepcopy(model)
    sgd = tiny.PlainSGD(expected.parameters(), lr=0.05)
    three = tiny.batches(forget, 4)
    for index in (0, 1, 2, 0):
        x, y = three[index]
        sgd.step(-F.cross_entropy(expected(x), y))
    result = tiny.plain("gradient_ascent", model, forget, retain, lr=0.05, epochs=2, driver="retain")
    tiny.assert_same(result, expected)


def test_masked_ascent_leaves_the_other_weights_bit_identical() -> None:
    model = tiny.net()
    result = tiny.plain("gradient_ascent", model, FORGET, RETAIN, lr=0.05, epochs=3, density=0.1)
    moved = sum(int((a != b).sum()) for a, b in zip(result.parameters(), model.parameters()))
    total = sum(p.numel() for p in model.parameters())
    assert 0 < moved <= int(0.1 * total)


def test_the_released_mask_lets_weight_decay_move_every_weight() -> None:
    model = tiny.net()
    options = {"lr": 0.05, "epochs": 1, "density": 0.1, "mask_update": "gradient"}
    result = tiny.plain("gradient_ascent", model, FORGET, RETAIN, **options)
    assert all(bool((a != b).all()) for a, b in zip(result.parameters(), model.parameters()))


def test_the_conformal_preset_is_the_released_loop_at_the_default_rate_of_its_command_line() -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model)
    sgd = tiny.PlainSGD(student.parameters(), 0.1)
    x, y = tiny.stack(FORGET)
    for epoch in range(3):
        student.train(epoch == 0)  # the evaluation after epoch 1 leaves the model in eval mode
        sgd.step(-F.cross_entropy(student(x), y))
    tiny.assert_same(tiny.plain("gradient_ascent", model, FORGET, RETAIN, preset="conformal", epochs=3), student)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_ascent_on_soft_labels_takes_the_originals_probabilities(norm: bool, multi_label: bool) -> None:
    forget, retain = (tiny.samples(8, seed=seed, multi_label=multi_label) for seed in (1, 2))
    model = tiny.net(norm=norm)
    student = copy.deepcopy(model).train()
    sgd = tiny.PlainSGD(student.parameters(), 0.01)
    x, _ = tiny.stack(forget)
    u = model(x).detach()
    for _ in range(3):
        z = student(x)
        if multi_label:
            p, q = torch.sigmoid(u), torch.sigmoid(z)
            sgd.step((p * q.log() + (1 - p) * (1 - q).log()).mean())
        else:
            sgd.step((torch.softmax(u, 1) * torch.softmax(z, 1).log()).sum(1).mean())
    result = tiny.plain("gradient_ascent", model, forget, retain, preset="uuef_soft", batch_size=8, epochs=3)
    tiny.assert_same(result, student)


def test_clipping_bounds_a_step() -> None:
    model = tiny.net()
    result = tiny.plain(
        "gradient_ascent", model, FORGET, RETAIN, lr=1.0, epochs=1, clip_norm=1e-3, momentum=0.0, weight_decay=0.0
    )
    moved = torch.cat([(a - b).detach().flatten() for a, b in zip(result.parameters(), model.parameters())])
    assert moved.norm() <= 1e-3 * (1 + 1e-6)
