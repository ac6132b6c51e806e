"""Models of timm: built by name without a download, with features at the head and the stages that methods need."""

import builtins

import pytest
import torch

import raybench
from raybench import models
from raybench.errors import UserError
from raybench.methods.framework.architecture import last_stages, stages
from raybench.models.checkpoints import fit_checkpoint, read_checkpoint, to_safetensors

timm = pytest.importorskip("timm", reason="needs raybench[timm]")
SMALL = {"timm:test_resnet": 32, "timm:test_vit": 32, "timm:test_convnext": 32, "timm:test_efficientnet": 32}


@pytest.fixture(params=SMALL)
def model(request):
    return models.build(request.param, num_classes=5, image_size=SMALL[request.param]).eval()


def test_the_features_are_those_that_timm_calls_pre_logits(model):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), models.feature_tap(model) as tap:
        logits = model(x)
        before = model.forward_head(model.forward_features(x), pre_logits=True)
    assert logits.shape == (2, 5)
    assert models.num_outputs(model) == 5
    assert torch.allclose(tap.features, before, atol=1e-6)


def test_the_last_stage_is_the_head_and_a_block_is_a_stage(model):
    earlier, last = last_stages(model, 1)
    assert [name for stage in last for name in stage.modules][-1].startswith(("fc", "head", "classifier"))
    assert len(earlier) == len(stages(model)) - 1 >= 3


def test_weights_follow_the_seed_and_the_number_of_channels_that_of_the_images():
    assert models.input_channels("timm:test_resnet", 1) == 1
    one, same, other = (models.build("timm:test_resnet", num_classes=2, channels=1, seed=seed) for seed in (1, 1, 2))
    assert models.to_bytes(one) == models.to_bytes(same) != models.to_bytes(other)
    with torch.no_grad():
        assert one.eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 2)


def test_only_models_with_a_fixed_size_are_built_for_the_size_of_the_images():
    assert models.has_fixed_size("timm:test_vit")
    assert not models.has_fixed_size("timm:test_resnet")
    model = models.build("timm:test_vit", num_classes=2, image_size=32)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_a_checkpoint_that_timm_wrote_is_read(model, tmp_path):
    torch.save({"state_dict": model.state_dict(), "arch": "test", "epoch": 3}, tmp_path / "checkpoint.pth.tar")
    fit_checkpoint(model, read_checkpoint(tmp_path / "checkpoint.pth.tar").weights, name="it")
    fit_checkpoint(model, read_checkpoint(to_safetensors(model.state_dict())).weights, name="it")


def test_an_unknown_name_is_answered_with_the_nearest_and_no_stem_is_allowed():
    with pytest.raises(UserError, match=r"unknown model 'timm:resnet81'; did you mean 'timm:resnet\d+'"):
        models.check_name("timm:resnet81")
    with pytest.raises(UserError, match="'cifar' is for residual networks"):
        models.check_stem("timm:test_resnet", "cifar")
    assert models.source_fingerprint("timm:vit_tiny_patch16_224.augreg_in21k") is None


def test_without_timm_the_message_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "timm":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"needs the library timm: pip install 'raybench\[timm\]'"):
        models.check_name("timm:resnet18")


@pytest.mark.parametrize("method", ["cf_k", "boundary_shrink", "activation_reset"])
def test_methods_find_what_they_change(method):
    generator = torch.Generator().manual_seed(0)
    data = [(torch.randn(3, 32, 32, generator=generator), i % 3) for i in range(12)]
    model = models.build("timm:test_resnet", num_classes=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    unlearned = raybench.unlearn(model, method=method, forget=data[:4], retain=data[4:])
    assert any(not torch.equal(before[key], value) for key, value in unlearned.state_dict().items())
