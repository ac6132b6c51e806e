"""cf_k, eu_k, and the stages that they count."""

import copy

import architectures
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import nn

import raybench
from raybench import models
from raybench.errors import UserError
from raybench.methods.framework.architecture import last_stages, stages

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


def early(model: nn.Module) -> list[torch.Tensor]:
    return [value for key, value in model.state_dict().items() if key[0] in "01"]


@pytest.mark.parametrize("method", ["cf_k", "eu_k"])
def test_early_stages_stay_bit_identical_buffers_included(method: str) -> None:
    model = tiny.net(norm=True)
    result = tiny.plain(method, model, FORGET, RETAIN, stages=2, lr=0.1, epochs=3, weight_decay=0.1)
    assert all(torch.equal(a, b) for a, b in zip(early(result), early(model)))
    assert not torch.equal(result[3].weight, model[3].weight)
    assert not torch.equal(result[4].running_mean, model[4].running_mean)


def test_the_released_form_lets_the_statistics_of_frozen_stages_drift() -> None:
    model = tiny.net(norm=True)
    result = tiny.plain("cf_k", model, FORGET, RETAIN, preset="mufac", stages=2)
    assert torch.equal(result[0].weight, model[0].weight)
    assert not torch.equal(result[1].running_mean, model[1].running_mean)


@pytest.mark.parametrize("released", [True, False])
def test_cf_k_is_sgd_on_the_last_stages(released: bool) -> None:
    model = tiny.net(norm=True)
    student = copy.deepcopy(model).train()
    trained = [p for key, p in student.named_parameters() if key[0] not in "01"]
    sgd = tiny.PlainSGD(trained, *((0.001, 0, 0) if released else (0.05,)))
    if not released:
        student[1].eval()
    x, y = tiny.stack(RETAIN)
    for _ in range(2):
        sgd.step(F.cross_entropy(student(x), y))
    options = {"preset": "mufac"} if released else {"lr": 0.05}
    result = tiny.plain("cf_k", model, FORGET, RETAIN, stages=2, epochs=2, batch_size=8, **options)
    tiny.assert_same(result, student)


def test_eu_k_forgets_what_the_last_stages_were() -> None:
    one, two = tiny.net(seed=1), tiny.net(seed=1)
    with torch.no_grad():
        two[-1].weight.normal_()
    results = [tiny.plain("eu_k", model, FORGET, RETAIN, stages=1, epochs=2) for model in (one, two)]
    assert tiny.distance(*results) == 0


EXPECTED = {
    "resnet18": ["conv1 bn1", "layer1", "layer2", "layer3", "layer4", "fc"],
    "vit": ["conv_proj", "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1 encoder.ln", "heads"],
    "swin": ["features.0", "features.1", "features.2", "features.3 norm", "head"],
    "convnext": ["features.0", "features.1", "features.2", "features.3", "classifier"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_stages_are_what_the_papers_count(name: str) -> None:
    model = architectures.small(name)
    found = stages(model)
    assert [" ".join(stage.modules) for stage in found] == EXPECTED[name]
    every = [key for stage in found for key in stage.parameter_names()]
    assert sorted(every) == sorted(key for key, _ in model.named_parameters())
    tensors = {key for stage in found for key in stage.tensor_names()}
    assert tensors == set(model.state_dict())


@pytest.mark.parametrize("name", EXPECTED)
def test_cf_k_freezes_the_early_stages_of_every_architecture(name: str) -> None:
    model = architectures.small(name).eval()
    data = [(torch.randn(3, 32, 32), i % 3) for i in range(4)]
    result = raybench.unlearn(model, method="cf_k", forget=data, retain=data, epochs=1, stages=1, batch_size=4)
    frozen, free = last_stages(model, 1)
    before, after = model.state_dict(), result.state_dict()
    for stage in frozen:
        assert all(torch.equal(before[key], after[key]) for key in stage.tensor_names())
    assert any(not torch.equal(before[key], after[key]) for stage in free for key in stage.tensor_names())


@pytest.mark.parametrize("count", [3, 7])
def test_asking_for_more_stages_than_there_are_is_refused_before_training(count: int) -> None:
    with pytest.raises(UserError, match=r"allowed: 1 to 2"):
        tiny.plain("cf_k", tiny.net(), FORGET, RETAIN, stages=count)


def test_a_model_in_one_piece_has_no_stages() -> None:
    with pytest.raises(UserError, match="single stage"):
        tiny.plain("cf_k", nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double(), FORGET, RETAIN)


def test_eu_k_is_sgd_on_fresh_last_stages() -> None:
    model = tiny.net(norm=True)
    student, fresh = copy.deepcopy(model).train(), copy.deepcopy(model)
    models.reset(fresh, seed=0)
    student[3].load_state_dict(fresh[3].state_dict())
    student[4].load_state_dict(fresh[4].state_dict())
    student[8].load_state_dict(fresh[8].state_dict())
    student[1].eval()
    sgd = tiny.PlainSGD([p for key, p in student.named_parameters() if key[0] not in "01"], 0.05)
    x, y = tiny.stack(RETAIN)
    for _ in range(3):
        sgd.step(F.cross_entropy(student(x), y))
    tiny.assert_same(tiny.plain("eu_k", model, FORGET, RETAIN, lr=0.05, epochs=3, stages=2, batch_size=8), student)
