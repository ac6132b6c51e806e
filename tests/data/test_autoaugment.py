import numpy as np
import pytest
import torch
from pictures import assert_equal, batch
from scipy.stats import kstest
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from raybench.data.transforms import autoaugment

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
DEVICES = pytest.mark.parametrize("device", ["cpu", CUDA])
TORCHVISION_NAMES = {
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "color": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
}


@pytest.mark.parametrize("name", autoaugment.OPERATIONS)
def test_each_operation_of_autoaugment_is_torchvisions_at_every_level(name):
    pixels = batch(10, 33, 40)
    sides = np.where(np.arange(10) % 2 == 0, 1.0, -1.0) if name in autoaugment.SIGNED else np.ones(10)
    values = autoaugment.magnitudes(name, 33, 40) * sides

    def theirs(image, k):
        return _apply_op(image, TORCHVISION_NAMES[name], values[k], InterpolationMode.NEAREST, None)

    assert_equal(pixels, lambda x: autoaugment.OPERATIONS[name](x, values), theirs)


@DEVICES
def test_autoaugment_is_torchvisions_with_the_same_draws(device):
    """All 25 pairs, to both sides, each half of a pair done or not."""
    n = 25 * 8
    pixels = np.concatenate([batch(20, 33, 40)] * 10)
    choices = autoaugment.Choices(
        pair=np.arange(n) % 25,
        chance=np.random.default_rng(0).random((n, 2)),
        positive=np.random.default_rng(1).integers(0, 2, (n, 2)) == 1,
    )

    def theirs(image, k):
        policy = AutoAugment(AutoAugmentPolicy.CIFAR10)
        drawn = int(choices.pair[k]), torch.from_numpy(choices.chance[k]), torch.from_numpy(choices.positive[k]).int()
        policy.get_params = lambda _: drawn
        return policy(image)

    assert_equal(pixels, lambda x: autoaugment.autoaugment(x, choices), theirs, device)


def test_autoaugment_draws_pairs_chances_and_sides_evenly():
    choices = autoaugment.draw(10_000, np.random.default_rng(0))
    assert np.abs(np.bincount(choices.pair, minlength=25) - 400).max() < 5 * 20
    assert kstest(choices.chance.ravel(), "uniform").pvalue > 1e-3
    assert np.abs(choices.positive.mean(axis=0) - 0.5).max() < 5 * 0.005
