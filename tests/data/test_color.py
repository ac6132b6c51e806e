import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import assert_equal, batch
from scipy.stats import kstest
from torchvision.transforms import functional as tv

from raybench.data.transforms import color

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
DEVICES = pytest.mark.parametrize("device", ["cpu", CUDA])
FACTORS = np.array([0.8, 1.2, 1.0, 0.95, 1.1, 0.3, 1.9, 0.0, 2.0, 0.801, 1.13, 0.5])


@DEVICES
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (color.brightness, tv.adjust_brightness),
        (color.contrast, tv.adjust_contrast),
        (color.saturation, tv.adjust_saturation),
        (color.sharpness, tv.adjust_sharpness),
    ],
)
def test_mixing_by_a_factor_is_torchvisions(ours, theirs, channels, device):
    pixels = batch()[..., :channels]
    assert_equal(pixels, lambda x: ours(x, FACTORS), lambda image, k: theirs(image, FACTORS[k]), device)


@DEVICES
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (color.invert, lambda image, _: tv.invert(image)),
        (color.autocontrast, lambda image, _: tv.autocontrast(image)),
        (color.equalize, lambda image, _: tv.equalize(image)),
        (color.grayscale, lambda image, _: tv.to_grayscale(image, len(image.getbands()))),
    ],
)
def test_changes_without_a_number_are_torchvisions(ours, theirs, channels, device):
    assert_equal(batch()[..., :channels], ours, theirs, device)


@DEVICES
def test_posterize_and_solarize_are_torchvisions(device):
    bits = np.arange(12) % 8 + 1.0
    assert_equal(
        batch(), lambda x: color.posterize(x, bits), lambda image, k: tv.posterize(image, int(bits[k])), device
    )
    edges = np.linspace(0, 255, 12)
    assert_equal(batch(), lambda x: color.solarize(x, edges), lambda image, k: tv.solarize(image, edges[k]), device)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), height=st.integers(1, 12), width=st.integers(1, 12))
def test_histograms_of_any_image_are_torchvisions(seed, height, width):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, generator.integers(1, 257), (3, height, width, 3), dtype=np.uint8)
    assert_equal(pixels, color.equalize, lambda image, _: tv.equalize(image))
    assert_equal(pixels, color.autocontrast, lambda image, _: tv.autocontrast(image))
    assert_equal(
        pixels, lambda x: color.contrast(x, FACTORS[:3]), lambda image, k: tv.adjust_contrast(image, FACTORS[k])
    )


@DEVICES
def test_jitter_is_torchvisions_with_the_same_draws(device):
    factors, order = color.draw_jitter(12, np.random.default_rng(0))
    changes = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)

    def theirs(image, k):
        for kind in order[k]:
            image = changes[kind](image, factors[k, kind])
        return image

    assert_equal(batch(), lambda x: color.jitter(x, factors, order), theirs, device)


def test_jitter_draws_every_order_and_factor_equally_often():
    factors, order = color.draw_jitter(6000, np.random.default_rng(0))
    _, counts = np.unique(order, axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 5 * 29  # standard deviation of a count
    for kind in range(3):
        assert kstest(factors[:, kind], "uniform", (0.8, 0.4)).pvalue > 1e-3
