"""Models by name, their penultimate features, and checkpoints that are read without running anything in them."""

import io
import os
import pickle

import pytest
import torch
from torch import nn

from raybench import models
from raybench.errors import UserError

# name, stem, image side
BUILDS = [
    ("cnn", "imagenet", 8),
    ("resnet18", "cifar", 16),
    ("resnet18", "imagenet", 32),
    ("resnet50", "cifar", 8),
    ("convnext_tiny", "imagenet", 32),
    ("squeezenet1_1", "imagenet", 32),
    ("mobilenet_v3_small", "imagenet", 32),
]
TWICE = [  # an independent way to the same features
    ("cnn", lambda model, x: model[:-1](x)),
    ("resnet18", lambda model, x: nn.Sequential(*list(model.children())[:-1], nn.Flatten())(x)),
    ("convnext_tiny", lambda model, x: model.classifier[:2](model.avgpool(model.features(x)))),
    ("squeezenet1_1", lambda model, x: model.features(x).mean(dim=(2, 3))),
]


@pytest.fixture(scope="module")
def built():
    cache = {}

    def build(name, stem="imagenet"):
        if (name, stem) not in cache:
            cache[name, stem] = models.build(name, num_classes=7, stem=stem, width=4).eval()
        return cache[name, stem]

    return build


@pytest.mark.parametrize(("name", "stem", "side"), BUILDS)
def test_features_are_what_the_head_reads_and_logits_are_as_many_as_classes(built, name, stem, side):
    model, x = built(name, stem), torch.randn(2, 3, side, side)
    with torch.no_grad(), models.feature_tap(model) as tap:
        logits = model(x)
    assert logits.shape == (2, 7)
    assert models.num_outputs(model) == 7
    assert tap.features.ndim == 2
    head = model.get_submodule(models.head_name(model))
    if isinstance(head, nn.Linear):
        assert torch.equal(head(tap.features), logits)


def test_features_of_a_transformer_are_its_normalized_class_token():
    with torch.device("meta"):  # drawing 88 million weights properly takes seconds
        model = models.build("vit_b_32", num_classes=7)
    model = model.to_empty(device="cpu").eval()
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.05, 0.05)
    tokens = []
    model.encoder.register_forward_hook(lambda _module, _inputs, output: tokens.append(output))
    with torch.no_grad(), models.feature_tap(model) as tap:
        logits = model(torch.randn(1, 3, 224, 224))
    assert torch.equal(tap.features, tokens[0][:, 0])
    assert torch.equal(model.heads(tap.features), logits)


@pytest.mark.parametrize(("name", "features"), TWICE)
def test_features_equal_those_of_the_model_without_its_head(built, name, features):
    model, x = built(name), torch.randn(2, 3, 32, 32)
    with torch.no_grad(), models.feature_tap(model) as tap:
        model(x)
        assert torch.allclose(tap.features, features(model, x), atol=1e-6)


def test_the_tap_is_gone_after_its_block(built):
    model = built("cnn")
    with models.feature_tap(model) as tap:
        pass
    model(torch.randn(2, 3, 8, 8))
    assert tap.features is None


@pytest.mark.parametrize(("stem", "side"), [("cifar", 32), ("imagenet", 8)])
def test_the_cifar_stem_keeps_the_resolution_that_the_imagenet_stem_quarters(built, stem, side):
    model, sizes = built("resnet18", stem), []
    handle = model.layer1.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
    with torch.no_grad():
        model(torch.randn(1, 3, 32, 32))
    handle.remove()
    assert sizes == [side]


def test_weights_depend_on_the_seed_alone_and_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same, other = (models.build("cnn", num_classes=3, seed=seed, width=4) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters()))
    assert not torch.equal(one[0].weight, other[0].weight)


def test_resetting_draws_what_building_would_not_keep():
    model = models.build("cnn", num_classes=3, seed=1, width=4)
    before = model[0].weight.clone()
    model[1].running_mean.fill_(7)
    models.reset(model, seed=2)
    assert not torch.equal(before, model[0].weight)
    assert torch.equal(model[1].running_mean, torch.zeros(4))


def test_gray_images_reach_torchvision_models_as_three_channels():
    assert models.input_channels("cnn", 1) == 1
    assert models.input_channels("resnet18", 1) == 3


def test_unknown_models_and_unfitting_stems_are_refused():
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        models.build("resnet81", num_classes=2)
    with pytest.raises(UserError, match="residual networks, not 'vit_b_32'"):
        models.build("vit_b_32", num_classes=2, stem="cifar")


def test_a_model_without_a_head_is_refused_for_features():
    with pytest.raises(UserError, match="no linear or convolutional head"):
        models.head_name(nn.Sequential(nn.ReLU()))


# -- checkpoints -------------------------------------------------------------------------------------------------------


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def model():
    return models.build("cnn", num_classes=3, seed=1, width=4)


@pytest.mark.parametrize(
    "pack",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": weights, "optimizer": {"lr": 0.1}},
        lambda weights: {f"module.{key}": value for key, value in weights.items()},
        lambda weights: {"state_dict": {f"module.{key}": value for key, value in weights.items()}},
    ],
    ids=["bare", "state_dict", "model", "data parallel", "both"],
)
def test_every_usual_packing_of_a_state_dict_is_read(model, tmp_path, pack):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(saved(pack(model.state_dict())))
    other = models.build("cnn", num_classes=3, seed=9, width=4)
    models.load_weights(other, models.read_weights(path))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))


def test_what_is_written_is_read_back(model):
    weights = models.read_weights(models.to_bytes(model))
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("wrap", [lambda bomb: bomb, lambda bomb: {"state_dict": {}, "extra": bomb}])
@pytest.mark.parametrize("write", [saved, pickle.dumps], ids=["torch.save", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path, wrap, write):
    path, proof = tmp_path / "evil.pt", tmp_path / "it ran"
    path.write_bytes(write(wrap(Bomb(proof))))
    with pytest.raises(UserError, match=r"evil\.pt cannot be read safely.*pickled code, which raybench never runs"):
        models.read_weights(path)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Bomb(proof)))
    assert proof.exists()  # the bomb works


def test_a_whole_pickled_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="save only the state_dict"):
        models.read_weights(saved(nn.Sequential(nn.Linear(2, 2))))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_called_damaged(model, share):
    content = models.to_bytes(model)
    with pytest.raises(UserError, match="damaged"):
        models.read_weights(content[: int(share * len(content))])


@pytest.mark.parametrize("content", [{}, [1, 2], {"a": 1}, {"state_dict": {"a": "text"}}, torch.zeros(3)])
def test_a_file_without_a_state_dict_is_refused(content):
    with pytest.raises(UserError, match="contains no state dict of tensors"):
        models.read_weights(saved(content))


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pt does not exist"):
        models.read_weights(tmp_path / "nowhere.pt")


def test_a_checkpoint_of_another_architecture_is_answered_with_the_tensors_that_differ(model):
    before = [value.clone() for value in model.state_dict().values()]
    wider = models.build("cnn", num_classes=5, width=4).state_dict()
    with pytest.raises(
        UserError, match=r"another architecture.*2 shapes different \(13\.weight: file \(5, 16\), model \(3, 16\)"
    ) as caught:
        models.load_weights(model, wider, name="mine.pt")
    assert "mine.pt" in str(caught.value)
    other = {f"layer.{i}": torch.zeros(1) for i in range(5)}
    with pytest.raises(UserError, match=r"tensors missing \(0\.weight, .*, \.\.\.\); 5 tensors unknown \(layer\.0, "):
        models.load_weights(model, other)
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values()))


# -- transformers, and models of one's own -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"), [("vit_s_16", 22_050_664), ("vit_ti_16", 5_717_416), ("vit_b_16", 86_567_656)]
)
def test_vision_transformers_have_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        model = models.build(name, num_classes=1000, image_size=224)
    assert sum(value.numel() for value in model.parameters()) == parameters


@pytest.mark.parametrize("name", ["vit_ti_16", "swin_t", "convnext_tiny"])
def test_small_images_go_through_the_architectures_of_large_ones(name):
    with torch.device("meta"):  # drawing the weights properly takes seconds
        model = models.build(name, num_classes=7, image_size=32)
    model = model.to_empty(device="cpu").eval()
    for value in [*model.parameters(), *model.buffers()]:
        if value.dtype.is_floating_point:
            torch.nn.init.uniform_(value, -0.05, 0.05)
        else:
            value.zero_()
    with torch.no_grad(), models.feature_tap(model) as tap:
        assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert tap.features.shape == (2, {"vit_ti_16": 192}.get(name, 768))


def test_images_that_cannot_be_cut_into_patches_are_refused_with_a_size_that_can():
    with pytest.raises(UserError, match=r"the image size 50 is not a multiple of 16.* to 48"):
        models.build("vit_s_16", num_classes=3, image_size=50)
    with pytest.raises(UserError, match="for instance to 16"):
        models.build("vit_ti_16", num_classes=3, image_size=8)


OWN = """
import torch
from torch import nn

def plain(*, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))

def flexible(*, num_classes, channels, image_size=None):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, num_classes))

class Whole(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(4, num_classes)

def no_module(num_classes):
    return "a module"

def other_head(num_classes):
    return nn.Linear(4, num_classes + 1)

def nothing():
    return nn.Linear(4, 2)

NUMBER = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    import sys

    (tmp_path / "own_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda name: f"own_models.{name}"
    sys.modules.pop("own_models", None)


def test_a_model_of_ones_own_gets_what_it_takes(own):
    assert models.build(own("plain"), num_classes=5, channels=1, image_size=8)[1].weight.shape == (5, 192)
    assert models.build(own("flexible"), num_classes=5, channels=1, image_size=9)[1].weight.shape == (5, 81)
    assert models.build(own("Whole"), num_classes=6).head.weight.shape == (6, 4)
    assert models.input_channels(own("plain"), 1) == 3
    assert models.input_channels(own("flexible"), 1) == 1
    assert [models.has_fixed_size(own(name)) for name in ("plain", "flexible")] == [False, True]


def test_a_model_of_ones_own_is_drawn_from_the_seed(own):
    one, same, other = (models.build(own("plain"), num_classes=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one[1].weight, same[1].weight)
    assert not torch.equal(one[1].weight, other[1].weight)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_module", "returned str, not a torch module"),
        ("other_head", "has 4 outputs, but num_classes is 3"),
        ("nothing", r"takes num_classes=\.\.\. and returns a torch module; it takes \(\)"),
        ("NUMBER", "cannot be called"),
        ("absent", "cannot import model"),
    ],
)
def test_a_model_of_ones_own_that_does_not_fit_is_refused(own, name, said):
    with pytest.raises(UserError, match=said):
        models.build(own(name), num_classes=3)


def test_editing_a_model_of_ones_own_shows_in_its_fingerprint(own, tmp_path):
    before = models.source_fingerprint(own("plain"))
    (tmp_path / "own_models.py").write_text(OWN + "\n\nCHANGED = 1\n")
    assert models.source_fingerprint(own("plain")) != before
    assert models.source_fingerprint("cnn") is None


# -- weights to start from ---------------------------------------------------------------------------------------------


def test_weights_to_start_from_are_taken_but_for_a_head_of_another_size(model):
    given = models.build("cnn", num_classes=9, seed=7, width=4).state_dict()
    head = {key: value.clone() for key, value in model.state_dict().items() if key.startswith("13.")}
    assert models.start_from(model, given, name="imagenet.pt") == ["13.weight", "13.bias"]
    for key, value in model.state_dict().items():
        assert torch.equal(value, head.get(key, given[key]))


def test_a_head_of_the_same_size_is_taken_too(model):
    given = models.build("cnn", num_classes=3, seed=7, width=4).state_dict()
    assert models.start_from(model, given, name="imagenet.pt") == []
    assert torch.equal(model[13].weight, given["13.weight"])


@pytest.mark.parametrize("change", ["missing", "unknown", "body"])
def test_weights_to_start_from_that_differ_anywhere_else_are_refused(model, change):
    given = models.build("cnn", num_classes=9, seed=7, width=4).state_dict()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    if change == "missing":
        del given["0.weight"]
    elif change == "unknown":
        given["extra"] = torch.zeros(1)
    else:
        given["0.weight"] = torch.zeros(8, 3, 3, 3)
    with pytest.raises(UserError, match=r"imagenet\.pt is of another architecture"):
        models.start_from(model, given, name="imagenet.pt")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
