"""Every method on a ResNet, ViT, Swin and ConvNeXt: it runs, or it raises an error before training."""

import architectures
import pytest
import tiny
import torch

from raybench import methods
from raybench.errors import UserError
from raybench.methods.framework.run import run

# methods that an architecture does not support: no spatial convolutions, or negative features
REFUSED = {
    "vit": {"activation_reset", "convolution_transpose", "scar"},
    "swin": {"activation_reset", "convolution_transpose", "scar"},
    "convnext": {"scar"},
    "resnet18": set(),
}


@pytest.mark.slow  # 172 cases
@pytest.mark.parametrize("architecture", architectures.NAMES)
@pytest.mark.parametrize("name", methods.names())
def test_a_method_runs_on_an_architecture_or_refuses_it_before_training(name: str, architecture: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(30, 3, 32, 32, generator=generator)
    data = [(x, i % 3) for i, x in enumerate(images)]
    model = architectures.small(architecture).eval()
    options = {**tiny.short(name), "calibration": data[8:] if name == "cpu" else None, "batch_size": 4}
    if "epochs" in options:
        options["epochs"] = 1
    task, arguments = tiny.make_task(model, data[:3], data[3:8], method=name, **options)
    if name in REFUSED[architecture]:
        with pytest.raises(UserError):
            run(methods.get(name), task, arguments)
        assert task.ledger.steps == 0
    else:
        result = run(methods.get(name), task, arguments)
        assert all(bool(torch.isfinite(value).all()) for value in result.model.state_dict().values())
