"""Devices and precision."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

import raybench
from raybench.engine import devices
from raybench.engine.devices import autocast, resolve_device, resolve_precision
from raybench.errors import UserError

CPU = torch.device("cpu")


def test_auto_is_cuda_where_there_is_one():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == CPU


def test_a_missing_cuda_device_is_said_in_plain_words(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"no CUDA device \(allowed here: cpu, auto\)"):
        resolve_device("cuda")


@pytest.mark.parametrize("native", [True, False])
def test_auto_precision_is_bf16_only_where_the_hardware_multiplies_it(monkeypatch, native):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert resolve_precision("auto", CPU) == ("bf16" if native else "fp32")
    assert resolve_precision("bf16", CPU) == "bf16"


def test_mixed_precision_multiplies_in_bf16_and_fp32_switches_an_outer_one_off():
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    with autocast("bf16", CPU):
        assert layer(x).dtype == torch.bfloat16
        with autocast("fp32", CPU):
            assert layer(x).dtype == torch.float32
    with autocast("fp32", CPU):
        assert torch.equal(layer(x), layer(x))
        assert layer(x).dtype == torch.float32


def test_weights_that_a_step_changed_are_the_ones_that_the_next_pass_uses():
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    with autocast("bf16", CPU):
        before = layer(x)
        before.sum().backward()
        with torch.no_grad():
            layer.weight -= layer.weight.grad
        assert not torch.equal(layer(x), before)


def test_a_method_in_mixed_precision_follows_the_one_in_full_precision():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    samples = [(torch.randn(3, 2, 2), label % 3) for label in range(32)]

    def unlearned(precision):
        settings = {"epochs": 20, "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 32}
        found = raybench.unlearn(
            model, method="finetune", forget=samples[:4], retain=samples, precision=precision, **settings
        )
        return (found[1].weight - model[1].weight).detach()

    full, half = unlearned("fp32"), unlearned("bf16")
    assert float((full - half).norm()) < 0.05 * float(full.norm())


@pytest.fixture
def _threads():
    before = torch.get_num_threads()
    yield
    devices.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_set_for_torch_and_for_numpy(threads):
    np.ones((4, 4)) @ np.ones((4, 4))  # loads the BLAS
    devices.set_num_threads(threads)
    assert torch.get_num_threads() == threads
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert blas
    assert set(blas) == {threads}
