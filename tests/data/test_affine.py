import numpy as np
import pytest
import torch
from pictures import assert_equal, batch
from scipy.stats import kstest
from torchvision import transforms
from torchvision.transforms import functional as tv

from raybench.data.transforms import affine

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
DEVICES = pytest.mark.parametrize("device", ["cpu", CUDA])


@DEVICES
@pytest.mark.parametrize("size", [(32, 40), (33, 21), (128, 128)])
def test_affine_is_torchvisions_with_the_same_draws(size, device):
    drawn = affine.draw(12, np.random.default_rng(1))

    def theirs(image, k):
        return tv.affine(image, angle=0.0, translate=[0, 0], scale=drawn[k, 0], shear=[drawn[k, 1], 0.0])

    assert_equal(batch(12, *size), lambda x: affine.move(x, affine.shears_and_scales(drawn, *size)), theirs, device)


def test_affine_draws_are_those_of_random_affine():
    drawn = affine.draw(3000, np.random.default_rng(0))
    assert kstest(drawn[:, 0], "uniform", (0.8, 0.4)).pvalue > 1e-3
    assert kstest(drawn[:, 1], "uniform", (-10, 20)).pvalue > 1e-3
    torch.manual_seed(0)
    random_affine = transforms.RandomAffine(0, shear=10, scale=(0.8, 1.2))
    theirs = [random_affine.get_params([0, 0], None, [0.8, 1.2], random_affine.shear, [9, 9]) for _ in range(500)]
    assert {(angle, shift, shear[1]) for angle, shift, _, shear in theirs} == {(0.0, (0, 0), 0.0)}
    assert kstest([scale for _, _, scale, _ in theirs], drawn[:, 0]).pvalue > 1e-3
    assert kstest([shear[0] for _, _, _, shear in theirs], drawn[:, 1]).pvalue > 1e-3
