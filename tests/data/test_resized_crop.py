from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import picture
from PIL import Image
from scipy.stats import kstest
from torchvision import transforms

from raybench.data.reading.batches import ResidentSplit
from raybench.data.transforms import resized_crop

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
DEVICES = pytest.mark.parametrize("device", ["cpu", CUDA])


@pytest.mark.parametrize("size", [(375, 500), (64, 64), (40, 90)])
def test_parts_of_an_image_are_drawn_as_torchvision_draws_them(size):
    height, width = size
    uniforms = resized_crop.draw(1500, np.random.default_rng(0))
    ours = np.array([resized_crop.box(u, height, width) for u in uniforms])
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array(
        [transforms.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(1500)]
    )
    statistics = {
        "area": lambda b: b[:, 2] * b[:, 3],
        "ratio": lambda b: b[:, 3] / b[:, 2],
        "middle row": lambda b: b[:, 0] + b[:, 2] / 2,
        "middle column": lambda b: b[:, 1] + b[:, 3] / 2,
    }
    for name, statistic in statistics.items():
        assert kstest(statistic(ours), statistic(theirs)).pvalue > 1e-3, name
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= size).all()
    assert (ours[:, 2:] > 0).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 10**6))
def test_a_part_lies_inside_any_image(height, width, seed):
    top, left, h, w = resized_crop.box(resized_crop.draw(1, np.random.default_rng(seed))[0], height, width)
    assert 0 <= top <= top + h <= height
    assert 0 <= left <= left + w <= width
    assert h > 0
    assert w > 0


@pytest.mark.parametrize(("height", "width"), [(4, 100), (100, 4), (7, 90)])
def test_where_no_part_fits_the_middle_is_taken(height, width):
    uniforms = np.full(22, 1 - 1e-9)  # ten times the whole area, which no allowed ratio fits into
    expected = transforms.RandomResizedCrop.get_params(torch.empty(3, height, width), [1.0, 1.0], [3 / 4, 4 / 3])
    assert resized_crop.box(uniforms, height, width) == expected


def test_extreme_uniforms_choose_the_corners():
    uniforms = np.zeros(22)
    uniforms[:10] = (0.25 - 0.08) / 0.92
    uniforms[10:20] = 0.5  # a quarter of the area, as wide as high
    assert resized_crop.box(uniforms, 100, 100) == (0, 0, 50, 50)
    uniforms[20:] = 1 - 2**-53
    assert resized_crop.box(uniforms, 100, 100) == (50, 50, 50, 50)


@DEVICES
@pytest.mark.parametrize("resize", [None, 48])
def test_resized_crops_of_a_resident_set_are_within_one_level_of_pillows(make_data, device, resize):
    data = replace(make_data(size=32), images=np.stack([picture(32, 32, seed=i) for i in range(60)]))
    data = replace(data, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    split = ResidentSplit(data, np.arange(60), device=device, resize=resize, augment=["random_resized_crop", "flip"])
    x, _ = split.batch(np.arange(20), generator=np.random.default_rng(4))
    draws = split.augment.draw(20, np.random.default_rng(4))
    side = resize or 32
    for k in range(20):
        top, left, height, width = resized_crop.box(draws.crop_uniforms[k], 32, 32)
        part = Image.fromarray(data.images[k]).crop((left, top, left + width, top + height))
        expected = np.asarray(part.resize((side, side), Image.Resampling.BILINEAR))
        expected = expected[:, ::-1] if draws.flip[k] else expected
        assert np.abs(x[k].permute(1, 2, 0).cpu().numpy() - expected).max() <= 1.001
