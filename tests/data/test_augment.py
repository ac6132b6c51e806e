import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import batch, one_by_one
from torchvision.transforms import functional as tv

from raybench.data.reading.batches import ResidentSplit
from raybench.data.transforms.augment import NAMES, Augment, Draws, finish, gather, window
from raybench.errors import UserError

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
DEVICES = pytest.mark.parametrize("device", ["cpu", CUDA])


def test_a_tenth_of_the_images_turn_gray_and_the_others_stay():
    draws = Augment.parse(["grayscale"]).draw(20_000, np.random.default_rng(0))
    assert abs(draws.gray.mean() - 0.1) < 5 * 0.0022
    pixels = batch()
    gray = np.arange(12) % 3 == 0
    zeros = np.zeros(12, dtype=np.int64)
    made = finish(torch.from_numpy(pixels), Draws(zeros, zeros, zeros, gray=gray)).numpy()
    np.testing.assert_array_equal(made[~gray], pixels[~gray])
    expected = one_by_one(pixels, lambda image, _: tv.to_grayscale(image, 3))
    np.testing.assert_array_equal(made[gray], expected[gray])


@settings(max_examples=30, deadline=None)
@given(names=st.sampled_from([["crop", "flip"], ["crop_reflect", "flip"], ["flip"]]), seed=st.integers(0, 99))
def test_one_image_is_cropped_and_flipped_as_in_the_batch(names, seed):
    augment = Augment.parse(names)
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (6, 7, 9, 3), dtype=np.uint8)
    draws = augment.draw(6, generator)
    expected = gather(torch.from_numpy(images), torch.arange(6), draws, augment).numpy()
    np.testing.assert_array_equal([window(images[k], draws, k, augment) for k in range(6)], expected)


def test_crops_and_flips_draw_what_they_always_drew():
    draws = Augment.parse(["crop", "flip", "jitter", "autoaugment"]).draw(50, np.random.default_rng(9))
    generator = np.random.default_rng(9)
    np.testing.assert_array_equal(draws.top, generator.integers(0, 9, 50))
    np.testing.assert_array_equal(draws.left, generator.integers(0, 9, 50))
    np.testing.assert_array_equal(draws.flip, generator.integers(0, 2, 50))


@DEVICES
@pytest.mark.parametrize("crop", [[], ["crop"], ["random_resized_crop"]])
def test_all_augmentations_follow_one_order_whatever_the_order_of_their_names(make_data, device, crop):
    names = [*crop, "flip", "affine", "jitter", "grayscale", "autoaugment"]
    data = make_data(size=20)
    made = []
    for order in (names, names[::-1]):
        split = ResidentSplit(data, np.arange(60), device=device, augment=order)
        made.append(split.batch(np.arange(60), generator=np.random.default_rng(2))[0])
    assert torch.equal(*made)
    draws = Augment.parse(names).draw(60, np.random.default_rng(2))
    plain = ResidentSplit(data, np.arange(60), device=device, augment=[*crop, "flip"])
    pixels = plain.pixels(np.arange(60), torch.arange(60, device=device), plain.draw(60, np.random.default_rng(2)))
    for field in ("affine", "jitter", "gray", "policy"):
        only = Draws(draws.top, draws.left, draws.flip, **{field: getattr(draws, field)})
        pixels = finish(pixels, only)
    assert torch.equal(plain.normalize(pixels), made[0])


@pytest.mark.parametrize("name", NAMES)
def test_every_augmentation_changes_training_and_not_evaluation_and_repeats(make_data, name):
    for channels in (1, 3):
        data = make_data(size=16, channels=channels)
        split = ResidentSplit(data, np.arange(60), augment=[name], channels=3)
        first, again = (split.batch(np.arange(60), generator=np.random.default_rng(0))[0] for _ in range(2))
        other = split.batch(np.arange(60), generator=np.random.default_rng(1))[0]
        plain = split.batch(np.arange(60), generator=None)[0]
        assert torch.equal(first, again)
        assert torch.equal(
            plain, ResidentSplit(data, np.arange(60), channels=3).batch(np.arange(60), generator=None)[0]
        )
        if (channels, name) != (1, "grayscale"):  # a gray image is gray
            assert not torch.equal(first, other)
            assert not torch.equal(first, plain)
        assert math.isfinite(float(first.sum()))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["color"], "unknown augmentation 'color'"),
        (["flip", "crop", "flip"], "flip is listed twice"),
        (["crop", "random_resized_crop"], "use crop or random_resized_crop, not both"),
        (["crop", "crop_reflect", "flip"], "use crop or crop_reflect, not both"),
    ],
)
def test_augmentations_that_do_not_go_together_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        Augment.parse(names)


def test_a_recipe_refuses_what_the_batches_would(make_experiment):
    with pytest.raises(ValueError, match="not both"):
        make_experiment(train__augment=["crop", "random_resized_crop"])
    with pytest.raises(ValueError, match="augment"):
        make_experiment(train__augment=["crops"])
    assert make_experiment(train__augment=["flip", "affine", "jitter"]).train.augment == ["flip", "affine", "jitter"]


def test_only_crops_and_flips_cost_a_padded_copy(make_data):
    for names, copied in ((["jitter"], False), (["random_resized_crop", "flip"], False), (["flip", "jitter"], True)):
        split = ResidentSplit(make_data(), np.arange(60), augment=names)
        split.batch(np.arange(4), generator=np.random.default_rng(0))
        assert (split.windows is not None) == copied, names
