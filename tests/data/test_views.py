import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import picture
from PIL import Image
from torchvision import transforms

from raybench.data.transforms.views import View
from raybench.errors import UserError

SIZES = [(375, 500), (500, 375), (64, 64), (41, 97), (30, 20), (1, 50)]


def chain(view):
    """What torchvision does to a Pillow image for the same view."""
    side = view.resize or view.size
    first = transforms.Resize(side if view.fit == "crop" else (side, side))
    return transforms.Compose([first, transforms.CenterCrop(view.size)])


def assert_within_a_level(pixels, expected):
    assert pixels.shape == np.asarray(expected).shape
    assert np.abs(pixels.astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "view",
    [
        View(size=32),
        View(size=28, resize=32),
        View(size=27, resize=32),
        View(size=48, fit="squash"),
        View(size=28, resize=32, fit="squash_crop"),
    ],
)
def test_a_view_is_torchvisions_resize_and_center_crop_within_one_level(size, view):
    image = picture(*size)
    assert_within_a_level(view.apply(image), chain(view)(Image.fromarray(image)))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 70), st.integers(2, 70), st.integers(1, 30), st.integers(0, 9))
def test_any_image_is_cut_where_torchvision_cuts_it(height, width, size, more):
    view = View(size=size, resize=size + more)
    image = picture(height, width)
    assert_within_a_level(view.apply(image), chain(view)(Image.fromarray(image)))


def test_the_shorter_side_is_scaled_and_the_longer_rounded_down():
    assert View(size=224, resize=256).scaled(375, 500) == (256, 341)
    assert View(size=224, resize=256).scaled(500, 375) == (341, 256)
    assert View(size=224).scaled(375, 500) == (224, 298)
    assert View(size=224, fit="squash").scaled(375, 500) == (224, 224)
    assert View(size=224, resize=256, fit="squash_crop").scaled(375, 500) == (256, 256)


def test_an_image_of_the_right_size_is_left_as_it_is():
    image = picture(32, 32)
    np.testing.assert_array_equal(View(size=32).apply(image), image)
    np.testing.assert_array_equal(View(size=28, resize=32).apply(image), image[2:30, 2:30])


def test_crop_keeps_the_aspect_and_squash_does_not():
    image = np.zeros((20, 60, 3), dtype=np.uint8)
    image[:, 20:40] = 255  # a white square in the middle
    assert View(size=10).apply(image).min() > 200
    squashed = View(size=30, fit="squash").apply(image)
    assert squashed[:, :9].max() < 50
    assert squashed[:, 11:19].min() > 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 10, "resize": 8}, "resize 8 is smaller than size 10"),
        ({"size": 10, "fit": "squash", "resize": 12}, "takes no resize"),
    ],
)
def test_a_view_that_cannot_be_cut_out_is_refused(options, message):
    with pytest.raises((UserError, ValueError), match=message):
        View(**options)
